//! `elis policy watch`: a line each second, and one for each change.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::Value;

use super::canary::sums;
use super::client::Client;
use super::render::{faults_of, number, short};

/// Lines under one header.
const HEADER_EVERY: u64 = 20;

/// What a line was made of, to tell what is new in the next one.
#[derive(Debug, Clone, Default)]
struct Seen {
    decisions: f64,
    cpu_s: f64,
    finished: f64,
    jct_s: f64,
    ttft_s: f64,
}

/// Prints until it is interrupted, or for a number of lines.
#[expect(clippy::print_stdout, reason = "the output of the command")]
pub(super) fn run(
    client: &Client,
    every_s: f64,
    lines: Option<u64>,
    json: bool,
) -> anyhow::Result<()> {
    anyhow::ensure!(
        every_s > 0.0 && every_s.is_finite(),
        "--every must be above 0"
    );
    let mut view = View::default();
    let mut line = 0;
    while lines.is_none_or(|lines| line < lines) {
        if line > 0 {
            std::thread::sleep(Duration::from_secs_f64(every_s));
        }
        let status = client.get("status")?;
        if json {
            println!("{status}");
        } else {
            if line % HEADER_EVERY == 0 {
                println!("{HEADER}");
            }
            for text in view.lines(&status, every_s) {
                println!("{text}");
            }
        }
        line += 1;
    }
    Ok(())
}

const HEADER: &str = "policy      epoch waiting running  decisions/s  us each  faults  \
                      finished/s  JCT s  TTFT s  shadow";

#[derive(Debug, Default)]
struct View {
    /// The last of each policy, since counts are kept by policy.
    seen: HashMap<String, Seen>,
    live: Option<(String, String)>,
    /// Whether one was under way at the last look.
    canary: bool,
}

impl View {
    fn lines(&mut self, status: &Value, every_s: f64) -> Vec<String> {
        let mut lines = Vec::new();
        let policies = &status["policies"];
        let name = policies["name"].as_str().unwrap_or("-").to_owned();
        let digest = short(&policies["live"]["digest"]).to_owned();
        let now = (name.clone(), digest.clone());
        if let Some((old, from)) = self.live.replace(now.clone())
            && (&old, &from) != (&now.0, &now.1)
        {
            lines.push(format!("--- {old} {from} -> {name} {digest}"));
        }
        let counts = &policies["counts"];
        let new = Seen {
            decisions: number(&counts["decisions"]),
            cpu_s: number(&counts["cpu_s"]),
            finished: number(&counts["finished"]),
            jct_s: number(&counts["jct_s"]),
            ttft_s: number(&counts["ttft_s"]),
        };
        let old = self.seen.insert(digest, new.clone());
        let old = old.unwrap_or_else(|| new.clone());
        let decisions = new.decisions - old.decisions;
        let finished = new.finished - old.finished;
        let mean = |sum: f64, count: f64| {
            if count > 0.0 {
                format!("{:.2}", sum / count)
            } else {
                "-".to_owned()
            }
        };
        lines.push(format!(
            "{name:<10} {:>6} {:>7} {:>7} {:>12.0} {:>8} {:>7} {:>11.1} {:>6} {:>7}  {}",
            policies["epoch"].as_u64().unwrap_or(0),
            status["waiting"].as_u64().unwrap_or(0),
            status["running"].as_u64().unwrap_or(0),
            decisions / every_s,
            mean((new.cpu_s - old.cpu_s) * 1e6, decisions),
            faults_of(counts),
            finished / every_s,
            mean(new.jct_s - old.jct_s, finished),
            mean(new.ttft_s - old.ttft_s, finished),
            shadow(&policies["shadow"]),
        ));
        lines.extend(self.canary(&policies["canary"]));
        lines
    }

    /// Both sides of a canary under way, and its end once.
    fn canary(&mut self, canary: &Value) -> Vec<String> {
        let stage = canary["stage"].as_str().unwrap_or("");
        let under_way = matches!(stage, "running" | "passed");
        let was = std::mem::replace(&mut self.canary, under_way);
        if under_way {
            let sides = ["control", "canary"].iter();
            return sides
                .map(|side| format!("    {side:<8} {}", sums(&canary[side])))
                .collect();
        }
        if !was {
            return Vec::new();
        }
        vec![format!(
            "--- canary {} {}: {stage}, {}",
            canary["name"].as_str().unwrap_or("-"),
            short(&canary["digest"]),
            canary["why"].as_str().unwrap_or("-"),
        )]
    }
}

fn shadow(shadow: &Value) -> String {
    let Some(name) = shadow["name"].as_str() else {
        return String::new();
    };
    let compared = number(&shadow["compared"]).max(1.0);
    let tau = shadow["kendall_tau"]
        .as_f64()
        .map_or_else(|| "-".to_owned(), |tau| format!("{tau:.2}"));
    format!(
        "{name}: tau {tau}, {:.0} % differ",
        100.0 * number(&shadow["differed"]) / compared
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status(name: &str, decisions: u64, finished: u64, jct_s: f64) -> Value {
        json!({"waiting": 3, "running": 8, "policies": {
            "epoch": 2, "name": name, "live": {"digest": name.repeat(16)},
            "counts": {"decisions": decisions, "finished": finished, "jct_s": jct_s,
                       "ttft_s": 0.0, "cpu_s": 0.0, "faults": {"trap": 1}},
            "shadow": null,
        }})
    }

    #[test]
    fn a_line_has_what_is_new_and_a_change_is_told() {
        let mut view = View::default();
        assert_eq!(view.lines(&status("fcfs", 100, 10, 50.0), 2.0).len(), 1);
        let lines = view.lines(&status("fcfs", 300, 20, 90.0), 2.0);
        let fields: Vec<&str> = lines[0].split_whitespace().collect();
        assert_eq!(fields[..5], ["fcfs", "2", "3", "8", "100"]);
        assert_eq!(fields[6..9], ["1", "5.0", "4.00"]);
        let lines = view.lines(&status("isrtf", 7, 1, 1.0), 2.0);
        assert!(lines[0].starts_with("--- fcfs fcfs"), "{lines:?}");
        assert!(lines[0].contains("-> isrtf"), "{lines:?}");
        let mut under_way = status("isrtf", 8, 1, 1.0);
        under_way["policies"]["canary"] = json!({"stage": "running", "name": "sjf"});
        let lines = view.lines(&under_way, 2.0);
        assert!(lines[1].starts_with("    control  0 requests"), "{lines:?}");
        under_way["policies"]["canary"] = json!({"stage": "rolled-back", "why": "late"});
        let lines = view.lines(&under_way, 2.0);
        assert!(lines[1].contains("rolled-back, late"), "{lines:?}");
        assert_eq!(view.lines(&under_way, 2.0).len(), 1, "it is told once");
    }
}
