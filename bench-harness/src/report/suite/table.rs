//! A suite as tables for a terminal.

use super::matrix::{MARKS, of_groups};
use super::standings;
use crate::report::table::{TableOptions, add_row, empty_table, set_header};
use crate::report::text::{plural, tame, wrap};
use crate::suite::Measure;
use crate::suite::document::SuiteDocument;

/// Longest name of a policy.
const NAME: usize = 12;

/// Draws the standings and the change of the mean JCT; ends with a line feed.
pub fn render(document: &SuiteDocument, options: TableOptions) -> String {
    let policies = plural(document.policies.len(), "policy", "policies");
    let cells = plural(document.cells.len(), "cell", "cells");
    let suite = tame(&document.suite, 40);
    let mut parts = vec![format!("simulated figures: {suite}, {policies}, {cells}")];
    let mut table = empty_table(options);
    set_header(&mut table, &standings::heads(document));
    for standing in &document.standings {
        let mut cells = vec![tame(&standing.policy, NAME)];
        cells.extend(standings::row(document, standing));
        add_row(&mut table, &cells);
    }
    parts.push(table.to_string());
    parts.extend(changes(document, options));
    let left_out = document.left_out.iter();
    let left_out = left_out.map(|left| format!("left out: {}: {}", left.what, left.reason));
    let notes = document.notes.iter().map(|note| format!("note: {note}"));
    let small = document.smoke.then(|| {
        "note: the small form shows that everything runs; its figures mean nothing".to_owned()
    });
    let lines = left_out.chain(notes).chain(small);
    parts.extend(lines.map(|line| wrap(&tame(&line, 400), options.width.into())));
    parts.join("\n") + "\n"
}

/// The change of the mean JCT of every policy in every group, with marks of significance.
fn changes(document: &SuiteDocument, options: TableOptions) -> Vec<String> {
    let Some(matrix) = of_groups(document, Measure::JctMean) else {
        return Vec::new();
    };
    let marks = MARKS.iter().zip(&document.baselines);
    let marks: Vec<String> = marks
        .map(|([better, worse], against)| {
            format!(
                "{better} {worse} better and worse than {}",
                tame(against, NAME)
            )
        })
        .collect();
    let first = document.baselines.first().map_or("", String::as_str);
    let mut table = empty_table(options);
    let mut heads = vec![format!("mean JCT against {}", tame(first, NAME))];
    heads.extend(
        document
            .policies
            .iter()
            .map(|policy| tame(&policy.name, NAME)),
    );
    set_header(&mut table, &heads);
    for row in &matrix.rows {
        let mut cells = vec![tame(&row.head, 26)];
        cells.extend(row.cells.iter().map(|cell| {
            let gain = cell.gain.trim_end_matches('%');
            if gain.is_empty() {
                format!("{} s", cell.value)
            } else {
                format!("{gain}{}", cell.marks)
            }
        }));
        add_row(&mut table, &cells);
    }
    let title = format!("Change in percent; {}:", marks.join("; "));
    vec![wrap(&title, options.width.into()), table.to_string()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::example;

    #[test]
    fn the_tables_fit_and_say_that_they_are_simulated() {
        let options = TableOptions {
            width: 120,
            color: false,
        };
        let text = render(&example::document(), options);
        println!("{text}");
        assert!(
            text.starts_with("simulated figures: example, 4 policies, 3 cells"),
            "{text}"
        );
        assert!(text.contains("▲") && text.contains("▼"));
        let widest = text.lines().map(|line| line.chars().count()).max();
        assert!(widest.unwrap() <= 120, "{text}");
    }
}
