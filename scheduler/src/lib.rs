//! The scheduler core of Elis.
#![no_std]

extern crate alloc;

pub mod columns;
pub mod plan;
pub mod snapshot;
pub mod time;
