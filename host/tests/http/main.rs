//! The HTTP server from outside: a real one on a free port, before an engine without a model.

mod admin;
mod answers;
mod double;
mod ends;
mod errors;
mod load;
mod support;
