//! Where results go: terminal, files, standard output, progress on standard error.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use comfy_table::{CellAlignment, LineStyle, Table, presets};
use elis_bench_harness::report::Generated;
use indicatif::{ProgressBar, ProgressStyle};

/// Writes a file, and the folders above it.
pub(crate) fn write(path: &Path, text: &str) -> Result<()> {
    create(path)?
        .write_all(text.as_bytes())
        .with_context(|| at(path))
}

/// Opens a file for writing, and makes the folders above it.
pub(crate) fn create(path: &Path) -> Result<BufWriter<File>> {
    if let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        std::fs::create_dir_all(folder).with_context(|| at(folder))?;
    }
    Ok(BufWriter::new(
        File::create(path).with_context(|| at(path))?,
    ))
}

fn at(path: &Path) -> String {
    format!("cannot write {}", path.display())
}

/// Prints to standard output; a reader that has gone away is no error.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out
        .write_all(text.as_bytes())
        .and_then(|()| out.write_all(b"\n"))
    {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Writes a document to a path, or to standard output for `-`.
pub(crate) fn write_or_print(path: &Path, text: &str) -> Result<()> {
    if path == Path::new("-") {
        print(text)
    } else {
        write(path, text)
    }
}

/// A progress bar on standard error, hidden where that is no terminal.
pub(crate) fn bar(what: &str, of: &str) -> ProgressBar {
    let template = format!("{{msg}} {{wide_bar}} {{pos}}/{{len}} {of}, {{elapsed}} ");
    let style =
        ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(0)
        .with_style(style)
        .with_message(what.to_owned())
}

/// An empty table: names on the left, figures on the right.
pub(crate) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none()));
    table.set_header(header.iter().copied());
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// What made a report.
pub(crate) fn generated() -> Generated {
    Generated {
        tool: env!("CARGO_PKG_NAME").into(),
        version: env!("CARGO_PKG_VERSION").into(),
        commit: option_env!("ELIS_COMMIT").map(str::to_owned),
        // Where the program lies on this machine says nothing of the run.
        command: std::iter::once("elis-bench".to_owned())
            .chain(without_secrets(std::env::args().skip(1)))
            .collect(),
    }
}

/// A command line whose keys and tokens are dots.
fn without_secrets(words: impl Iterator<Item = String>) -> Vec<String> {
    const SECRETS: [&str; 2] = ["--api-key", "--admin-token"];
    let mut hide = false;
    let hidden = |word: String| {
        if std::mem::replace(&mut hide, SECRETS.contains(&word.as_str())) {
            return "…".to_owned();
        }
        match word.split_once('=') {
            Some((name, _)) if SECRETS.contains(&name) => format!("{name}=…"),
            _ => word,
        }
    };
    words.map(hidden).collect()
}

/// A path as a person would open it.
pub(crate) fn shown(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_keeps_secrets() {
        let words = "load --api-key sk-1 --url u --admin-token=t2 --seeds 3";
        let kept = without_secrets(words.split(' ').map(String::from));
        let wanted = "load --api-key … --url u --admin-token=… --seeds 3";
        assert_eq!(kept.join(" "), wanted);
    }
}
