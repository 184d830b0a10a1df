//! What a user sees while a measurement goes on.

use anyhow::Result;
use elis_bench_harness::load::Recordings;
use elis_bench_harness::load::session::Event;
use indicatif::ProgressBar;

use crate::cli::output;

/// A bar for the run that goes on; lines where it cannot be seen.
pub(super) struct Watch {
    bar: ProgressBar,
    recordings: Recordings,
    failed: u64,
    title: String,
    begun: usize,
    runs: usize,
}

impl Watch {
    pub(super) fn new(runs: usize) -> Result<Self> {
        Ok(Self {
            bar: output::bar("", "requests"),
            recordings: Recordings::new()?,
            failed: 0,
            title: String::new(),
            begun: 0,
            runs,
        })
    }

    pub(super) fn event(&mut self, event: &Event<'_>) {
        match event {
            Event::Begin {
                policy,
                seed,
                requests,
            } => {
                self.begun += 1;
                self.title = match self.runs {
                    1 => (*policy).to_owned(),
                    runs => format!("{policy}, seed {seed} ({} of {runs})", self.begun),
                };
                self.recordings.clear();
                self.failed = 0;
                self.bar.reset();
                self.bar.set_length(*requests as u64);
                self.bar.set_message(self.title.clone());
                if self.bar.is_hidden() {
                    eprintln!("{}: {requests} requests", self.title);
                }
            }
            Event::Settled(record) => {
                self.recordings.add(record);
                self.failed += u64::from(record.failure.is_some());
                self.bar.set_message(self.message());
                self.bar.inc(1);
            }
        }
    }

    fn message(&self) -> String {
        let s = |quantile| self.recordings.ttft.value_at_quantile(quantile) as f64 / 1e9;
        let failed = match self.failed {
            0 => String::new(),
            n => format!(", {n} failed"),
        };
        let (p50, p99) = (s(0.5), s(0.99));
        format!("{}: TTFT p50 {p50:.2} p99 {p99:.2} s{failed}", self.title)
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
