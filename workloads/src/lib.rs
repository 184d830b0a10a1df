//! Request streams for Elis: real traces, generated arrivals and lengths, and named specs.
//!
//! [`WorkloadRef`] is the one door: it parses what a user writes (`azure:trace.csv`,
//! `my-spec.toml`, `industrial`) and loads it into a [`Workload`], a sorted list of [`Arrival`]s
//! with a [`Provenance`] that records which arrival process was really used. The same seed gives
//! the same stream on every machine.

pub mod arrivals;
mod error;
pub mod fit;
pub mod generate;
pub mod inspect;
pub mod lengths;
mod limits;
mod overrides;
pub mod paper;
mod parts;
mod provenance;
pub mod readers;
mod reference;
mod replay;
pub mod responses;
pub mod rng;
pub mod shipped;
mod source;
pub mod spec;
mod stats;
mod workload;

pub use arrivals::ArrivalProcess;
pub use error::WorkloadError;
pub use inspect::{Inspection, inspect};
pub use limits::Limits;
pub use overrides::Overrides;
pub use provenance::{
    ArrivalRecord, Cut, DeadlineRecord, LengthRecord, Provenance, ShareRecord, SourceRecord,
};
pub use readers::{Format, RequestLengths, Trace, read_trace};
pub use reference::{FORMS as WORKLOAD_FORMS, WorkloadRef};
pub use spec::Spec;
pub use workload::{Arrival, DEFAULT_PRIORITY, Workload};
