//! Models as a user has them: files in, tokens out.

mod broken;
mod real;
mod schedules;
mod toy;
