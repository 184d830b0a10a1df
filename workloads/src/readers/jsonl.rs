//! JSON lines, with errors that name line and character.

use serde_json::{Map, Value};

use crate::error::WorkloadError;
use crate::readers::number;
use crate::source::Source;

/// One line, an object.
pub(crate) struct Object<'a> {
    path: &'a str,
    line: u64,
    text: &'a str,
    fields: Map<String, Value>,
}

/// The objects of a file; empty lines are passed over.
pub(crate) fn objects(source: &Source) -> impl Iterator<Item = Result<Object<'_>, WorkloadError>> {
    let lines = source.bytes.split(|byte| *byte == b'\n').zip(1_u64..);
    lines
        .filter(|(bytes, _)| !bytes.trim_ascii().is_empty())
        .map(|(bytes, line)| {
            let at = |column: usize, problem: String| WorkloadError::At {
                path: source.path.clone(),
                line,
                column: column.max(1) as u64,
                problem,
            };
            let text = str::from_utf8(bytes).map_err(|e| {
                at(
                    e.valid_up_to() + 1,
                    "the line is not valid UTF-8".to_owned(),
                )
            })?;
            let fields = serde_json::from_str(text)
                .map_err(|e| at(e.column(), format!("the line is not a JSON object: {e}")))?;
            Ok(Object {
                path: &source.path,
                line,
                text,
                fields,
            })
        })
}

impl Object<'_> {
    /// The first of `names` that the object holds.
    pub(crate) fn find<'n>(&self, names: &[&'n str]) -> Option<&'n str> {
        names
            .iter()
            .copied()
            .find(|name| self.fields.contains_key(*name))
    }

    /// As [`Object::find`], or an error.
    fn require<'n>(&self, names: &[&'n str]) -> Result<&'n str, WorkloadError> {
        self.find(names).ok_or_else(|| WorkloadError::At {
            path: self.path.to_owned(),
            line: self.line,
            column: 1,
            problem: format!(
                "the object has no field '{}'; is this the right format?",
                names.join("' or '")
            ),
        })
    }

    /// A number of tokens under one of `names`.
    pub(crate) fn tokens(&self, names: &[&str], what: &str) -> Result<u32, WorkloadError> {
        let name = self.require(names)?;
        number::tokens(&self.shown(name)).ok_or_else(|| self.wrong(name, what, "a whole number"))
    }

    /// A time under `name` in some unit, as nanoseconds.
    pub(crate) fn time_ns(
        &self,
        name: &str,
        unit: &str,
        ns_per_unit: u64,
    ) -> Result<u64, WorkloadError> {
        let name = self.require(&[name])?;
        number::nanoseconds(&self.shown(name), ns_per_unit)
            .ok_or_else(|| self.wrong(name, "arrival", &format!("a time in {unit}, 0 or later")))
    }

    /// A text under `name`.
    pub(crate) fn text(&self, name: &str, what: &str) -> Result<&str, WorkloadError> {
        let name = self.require(&[name])?;
        self.fields
            .get(name)
            .and_then(Value::as_str)
            .ok_or_else(|| self.wrong(name, what, "a text"))
    }

    /// A text under `name`, empty where the field is missing or null.
    pub(crate) fn text_or_empty(&self, name: &str, what: &str) -> Result<&str, WorkloadError> {
        match self.fields.get(name) {
            None | Some(Value::Null) => Ok(""),
            Some(_) => self.text(name, what),
        }
    }

    /// A list of numbers of tokens under `name`, at least one.
    pub(crate) fn token_list(&self, name: &str, what: &str) -> Result<Vec<u32>, WorkloadError> {
        let name = self.require(&[name])?;
        let list = self.fields.get(name).and_then(Value::as_array);
        list.and_then(|list| {
            let each = list.iter().map(|value| number::tokens(&value.to_string()));
            each.collect::<Option<Vec<u32>>>()
        })
        .filter(|tokens| !tokens.is_empty())
        .ok_or_else(|| self.wrong(name, what, "a list of whole numbers"))
    }

    /// An error at the field `name`.
    pub(crate) fn error_at(&self, name: &str, problem: String) -> WorkloadError {
        let column = self
            .text
            .find(&format!("\"{name}\""))
            .map_or(1, |at| at as u64 + 1);
        WorkloadError::At {
            path: self.path.to_owned(),
            line: self.line,
            column,
            problem,
        }
    }

    fn shown(&self, name: &str) -> String {
        self.fields
            .get(name)
            .map(Value::to_string)
            .unwrap_or_default()
    }

    fn wrong(&self, name: &str, what: &str, expected: &str) -> WorkloadError {
        let problem = format!("{what}: '{}' is not {expected}", self.shown(name));
        self.error_at(name, problem)
    }
}
