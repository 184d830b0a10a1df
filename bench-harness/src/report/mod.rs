//! Reports: one document, shown as JSON, as a terminal table, as CSV and as a page.

pub mod assemble;
pub mod bounds;
pub mod csv;
pub mod document;
pub mod figures;
pub mod inspection;
pub mod measured;
pub mod page;
pub mod series;
pub mod suite;
pub mod svg;
pub mod table;
pub mod text;

pub use assemble::{Inputs, ReportError, assemble};
pub use bounds::{Bounds, GapClosed};
pub use document::{Document, Generated, LoadPoint, SCHEMA, schema_json};
pub use series::PolicySeries;

#[cfg(test)]
pub(crate) mod example;
