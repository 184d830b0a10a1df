//! The load generator: sends a request stream to a real server and writes down what a user sees.
//!
//! Every request has an *intended* start, and its latencies count from there, whenever it was sent:
//! a server that stalls is charged for the requests that waited, too (no coordinated omission).
//! Nothing that was sent is lost: what did not complete is a record with the kind of its failure.

pub mod answer;
pub mod client;
pub mod csv;
pub mod engine;
pub mod failure;
pub mod histograms;
pub mod idle;
pub mod outcome;
pub mod prompt;
pub mod ramp;
pub mod record;
pub mod request;
pub mod session;
pub mod switch;

pub use client::{Client, ClientError, Target};
pub use engine::{Engine, Pace, Run, Stop};
pub use failure::{Failure, FailureKind};
pub use histograms::Recordings;
pub use idle::Idle;
pub use ramp::Ramp;
pub use record::Record;
pub use request::{Api, Length, RequestMaker};
pub use session::{PolicyRun, Session, SessionError, Stream};
pub use switch::{CommandSwitch, HttpSwitch, PolicySwitch};

use std::error::Error;

/// An error with its causes, since the outermost often says next to nothing.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text += &format!(": {more}");
        }
        cause = error.source();
    }
    text
}

/// The beginning of a text, on one line.
fn excerpt(text: &str) -> String {
    const CHARS: usize = 300;
    let mut words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = words.char_indices().nth(CHARS) {
        words.truncate(end);
        words.push('…');
    }
    words
}
