//! A record of iterations, from which a modelled worker can be fitted.

use std::fs::File;
use std::path::Path;

use elis_cost::fit::Measurement;

/// A CSV file with a row for each iteration, in the form that `elis-bench worker fit` reads.
#[derive(Debug)]
pub struct IterationLog(csv::Writer<File>);

impl IterationLog {
    /// Makes the file.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn create(path: &Path) -> std::io::Result<Self> {
        Ok(Self(csv::Writer::from_writer(File::create(path)?)))
    }

    /// Adds iterations. A full disk ends the log, not the server.
    pub(crate) fn write(&mut self, iterations: &[Measurement]) {
        for one in iterations {
            let _ = self.0.serialize(one);
        }
        // Whatever ends the server, what was measured until then is there.
        let _ = self.0.flush();
    }
}
