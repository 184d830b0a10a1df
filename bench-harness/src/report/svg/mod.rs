//! Charts as inline SVG whose colours come from the page's style sheet.
//!
//! Shapes carry classes, not colours, so one drawing serves light, dark and print. A chart library
//! would write colours into the shapes, to be taken out again; what is drawn here is little.

pub mod bars;
pub mod canvas;
pub mod forest;
pub mod plot;
pub mod scale;

pub use bars::{Bar, BarGroup, Bars};
pub use canvas::escape;
pub use forest::{Forest, ForestRow};
pub use plot::{Axis, Bin, Line, Plot};
pub use scale::Scale;
