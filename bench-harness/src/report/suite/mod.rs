//! A suite as one page and as tables for a terminal.

mod claims;
mod figures;
mod matrix;
pub mod page;
mod standings;
pub mod table;
