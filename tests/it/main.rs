//! Everything that needs more than one crate, in one binary, so that it links once.

mod support;
mod truth;
