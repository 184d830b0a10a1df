//! CSV with a header, read by column name, with errors that name line and field.

use csv::{ReaderBuilder, StringRecord};

use crate::error::WorkloadError;
use crate::readers::number;
use crate::source::Source;

/// An open CSV file.
pub(crate) struct Table<'a> {
    path: &'a str,
    headers: Vec<String>,
    reader: csv::Reader<&'a [u8]>,
}

impl<'a> Table<'a> {
    /// Reads the header.
    pub(crate) fn open(source: &'a Source) -> Result<Self, WorkloadError> {
        let mut reader = ReaderBuilder::new()
            .trim(csv::Trim::All)
            .from_reader(source.bytes.as_slice());
        let headers = match reader.headers() {
            Ok(headers) => headers.iter().map(str::to_ascii_lowercase).collect(),
            Err(e) => return Err(csv_error(&source.path, &e)),
        };
        Ok(Self {
            path: &source.path,
            headers,
            reader,
        })
    }

    /// The index of the first of `names` (in lower case) that the header holds.
    pub(crate) fn find(&self, names: &[&str]) -> Option<usize> {
        names
            .iter()
            .find_map(|name| self.headers.iter().position(|h| h == name))
    }

    /// As [`Table::find`], or an error that says what the header holds instead.
    pub(crate) fn column(&self, names: &[&str]) -> Result<usize, WorkloadError> {
        self.find(names).ok_or_else(|| WorkloadError::At {
            path: self.path.to_owned(),
            line: 1,
            column: 1,
            problem: format!(
                "the header has no column '{}', it has '{}'; is this the right format?",
                names.join("' or '"),
                self.headers.join(",")
            ),
        })
    }

    /// The next row, or `None` at the end.
    pub(crate) fn next_row(&mut self) -> Result<Option<Row<'a>>, WorkloadError> {
        let mut record = StringRecord::new();
        match self.reader.read_record(&mut record) {
            Ok(true) => Ok(Some(Row {
                path: self.path,
                record,
            })),
            Ok(false) => Ok(None),
            Err(e) => Err(csv_error(self.path, &e)),
        }
    }
}

/// One row of a table.
pub(crate) struct Row<'a> {
    path: &'a str,
    record: StringRecord,
}

impl Row<'_> {
    /// The text of a field.
    pub(crate) fn text(&self, column: usize) -> &str {
        self.record.get(column).unwrap_or("")
    }

    /// A number of tokens; `what` names it in the error.
    pub(crate) fn tokens(&self, column: usize, what: &str) -> Result<u32, WorkloadError> {
        number::tokens(self.text(column)).ok_or_else(|| self.wrong(column, what, "a whole number"))
    }

    /// A time in some unit, as nanoseconds; `unit` names it in the error.
    pub(super) fn time_ns(
        &self,
        column: usize,
        unit: &str,
        ns_per_unit: u64,
    ) -> Result<u64, WorkloadError> {
        number::nanoseconds(self.text(column), ns_per_unit)
            .ok_or_else(|| self.wrong(column, "arrival", &format!("a time in {unit}, 0 or later")))
    }

    /// A calendar time, as nanoseconds since 1970.
    pub(super) fn timestamp_ns(&self, column: usize) -> Result<u64, WorkloadError> {
        number::timestamp_ns(self.text(column)).ok_or_else(|| {
            self.wrong(
                column,
                "arrival",
                "a time such as '2023-11-16 18:17:03.9799600'",
            )
        })
    }

    fn wrong(&self, column: usize, what: &str, expected: &str) -> WorkloadError {
        let problem = format!("{what}: '{}' is not {expected}", self.text(column));
        self.at(column, problem)
    }

    /// An error at a field.
    pub(crate) fn at(&self, column: usize, problem: String) -> WorkloadError {
        WorkloadError::At {
            path: self.path.to_owned(),
            line: self.record.position().map_or(0, csv::Position::line),
            column: column as u64 + 1,
            problem,
        }
    }
}

/// Puts a place to what the CSV reader complains about.
fn csv_error(path: &str, error: &csv::Error) -> WorkloadError {
    let (column, problem) = match error.kind() {
        csv::ErrorKind::UnequalLengths {
            expected_len, len, ..
        } => {
            let problem = format!("the line has {len} fields, but the header has {expected_len}");
            (*len.min(expected_len), problem)
        }
        csv::ErrorKind::Utf8 { err, .. } => (
            err.field() as u64 + 1,
            "the field is not valid UTF-8".to_owned(),
        ),
        _ => (1, error.to_string()),
    };
    let line = error.position().map_or(1, csv::Position::line);
    WorkloadError::At {
        path: path.to_owned(),
        line,
        column,
        problem,
    }
}
