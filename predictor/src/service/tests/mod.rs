//! Tests of the service: turn by turn with a clock of their own, and on real threads.

mod fake;
mod properties;
mod threads;
mod turns;
