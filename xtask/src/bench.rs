//! `cargo xtask bench`: runs the criterion benches and keeps a dated result.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::{policies, workspace};

/// Runs all benches and writes `bench-harness/results/DATE-benches.md`.
pub(crate) fn run() -> anyhow::Result<()> {
    policies::run()?;
    let root = workspace::root();
    let folder = workspace::target_dir(&root).join("criterion");
    // What an earlier run left there would count as measured today.
    if folder.is_dir() {
        fs::remove_dir_all(&folder)
            .with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    // The encoder is measured in one thread, against others in one thread.
    let mut cargo = workspace::cargo(&root);
    cargo.args(["bench", "--package", "elis-bench-harness"]);
    workspace::run(cargo.env("RAYON_NUM_THREADS", "1"))?;
    let mut rows = Vec::new();
    collect(&folder, &folder, &mut rows)?;
    rows.sort_by(|a, b| a.0.cmp(&b.0));
    let mut text = format!(
        "# Benches\n\n{}\n\n`cargo xtask bench`; medians of criterion, with the 95 % interval, and \
         the ratio to the same work natively.\n\n\
         | bench | median | low | high | of native |\n|---|--:|--:|--:|--:|\n",
        workspace::stamp(&root)
    );
    for (name, [median, low, high]) in &rows {
        let ratio = native(name, &rows).map(|native| format!("{:.2}", median / native));
        let (median, low, high) = (shown(*median), shown(*low), shown(*high));
        let ratio = ratio.unwrap_or_default();
        writeln!(text, "| {name} | {median} | {low} | {high} | {ratio} |")?;
    }
    let path = root.join(format!(
        "bench-harness/results/{}-benches.md",
        workspace::today()?
    ));
    fs::create_dir_all(path.parent().unwrap_or(&root))?;
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    println!("{}", path.display());
    Ok(())
}

/// A bench and its figures in nanoseconds: median, low, high.
type Row = (String, [f64; 3]);

/// The median of the bench that does natively what this one does in another way, if there is one:
/// `decide/native/1000` for `decide/wasm/1000`.
fn native(name: &str, rows: &[Row]) -> Option<f64> {
    let mut parts = name.split('/');
    let (group, way, size) = (parts.next()?, parts.next()?, parts.next()?);
    let native = format!("{group}/native/{size}");
    let of_native = rows.iter().find(|(name, _)| *name == native)?;
    (way != "native").then_some(of_native.1[0])
}

/// Finds criterion's estimates below a folder.
fn collect(top: &Path, folder: &Path, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let path: PathBuf = entry?.path();
        let estimates = path.join("new/estimates.json");
        if estimates.is_file() {
            let name = path
                .strip_prefix(top)
                .unwrap_or(&path)
                .display()
                .to_string();
            let json: serde_json::Value = serde_json::from_str(&fs::read_to_string(estimates)?)?;
            let median = &json["median"];
            let interval = &median["confidence_interval"];
            let figures = [
                &median["point_estimate"],
                &interval["lower_bound"],
                &interval["upper_bound"],
            ];
            rows.push((
                name,
                figures.map(|value| value.as_f64().unwrap_or(f64::NAN)),
            ));
        } else if path.is_dir() {
            collect(top, &path, rows)?;
        }
    }
    Ok(())
}

/// Nanoseconds as a person reads them.
fn shown(ns: f64) -> String {
    match ns {
        ns if ns >= 1e9 => format!("{:.3} s", ns / 1e9),
        ns if ns >= 1e6 => format!("{:.2} ms", ns / 1e6),
        ns if ns >= 1e3 => format!("{:.2} us", ns / 1e3),
        ns => format!("{ns:.1} ns"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_is_compared_with_the_native_one_of_its_size() {
        let row = |name: &str, median| (name.to_owned(), [median, 0.0, 0.0]);
        let rows = [
            row("decide/native/1000", 4.0),
            row("decide/native/64", 1.0),
            row("decide/wasm/1000", 7.0),
            row("start/instantiate", 9.0),
        ];
        assert_eq!(native("decide/wasm/1000", &rows), Some(4.0));
        assert_eq!(native("decide/native/64", &rows), None);
        assert_eq!(native("start/instantiate", &rows), None);
    }
}
