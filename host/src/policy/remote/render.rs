//! Answers of the admin API as text for people.

use serde_json::Value;

const SHORT_DIGITS: usize = 12;

/// The first digits of a digest.
pub(super) fn short(digest: &Value) -> &str {
    let text = text(digest);
    text.get(..SHORT_DIGITS).unwrap_or(text)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}

pub(super) fn pushed(answer: &Value) -> String {
    let mut out = format!(
        "{}\n{} {}: {}\n",
        text(&answer["digest"]),
        text(&answer["name"]),
        text(&answer["version"]),
        text(&answer["summary"]),
    );
    for check in answer["checks"].as_array().into_iter().flatten() {
        let mark = if check["ok"] == true { "ok" } else { "FAILED" };
        let (name, found) = (text(&check["check"]), text(&check["found"]));
        out.push_str(&format!("{name:<10} {mark:<7} {found}\n"));
    }
    let kept = if answer["new"] == true {
        "kept"
    } else {
        "was here already"
    };
    out.push_str(&format!(
        "{} bytes, compiled in {:.0} ms, {kept}\n",
        answer["size_bytes"],
        number(&answer["compile_ms"])
    ));
    out
}

pub(super) fn list(answer: &Value) -> String {
    let mut out = format!("epoch {}\n", answer["epoch"]);
    let header = ["digest", "name", "role", "decisions", "faults", "strikes"];
    let [digest, name, role, decisions, faults, strikes] = header;
    out.push_str(&format!(
        "{digest:<12}  {name:<10} {role:<7} {decisions:>9} {faults:>7} {strikes:>7}  last fault\n"
    ));
    for row in answer["policies"].as_array().into_iter().flatten() {
        let counts = &row["counts"];
        let faults = faults_of(counts);
        let last = &counts["last_fault"];
        let last = if last.is_null() {
            String::new()
        } else {
            format!("{} at {}", text(&last["kind"]), text(&last["at"]))
        };
        out.push_str(&format!(
            "{:<12}  {:<10} {:<7} {:>9} {faults:>7} {:>7}  {last}\n",
            short(&row["digest"]),
            text(&row["name"]),
            text(&row["role"]),
            counts["decisions"].as_u64().unwrap_or(0),
            counts["strikes"].as_u64().unwrap_or(0),
        ));
        if row["role"] == "canary" {
            out.push_str(&super::canary::shown(&row["canary"]));
        }
    }
    out
}

/// All faults together.
pub(super) fn faults_of(counts: &Value) -> u64 {
    let faults = counts["faults"].as_object().into_iter().flatten();
    faults.filter_map(|(_, count)| count.as_u64()).sum()
}

pub(super) fn row(row: &Value) -> String {
    let mut out = format!(
        "digest     {}\npolicy     {} {}: {}\nrole       {}\nsize       {} bytes\n",
        text(&row["digest"]),
        text(&row["name"]),
        text(&row["version"]),
        text(&row["summary"]),
        text(&row["role"]),
        row["size_bytes"],
    );
    if let Some(config) = row["config"].as_str().filter(|config| !config.is_empty()) {
        for line in config.lines() {
            out.push_str(&format!("config     {line}\n"));
        }
    }
    let counts = &row["counts"];
    if !counts.is_null() {
        for name in [
            "decisions",
            "fallbacks",
            "stalled",
            "strikes",
            "restarts",
            "quarantines",
        ] {
            out.push_str(&format!("{name:<10} {}\n", counts[name]));
        }
        let each = number(&counts["cpu_s"]) * 1e6 / number(&counts["decisions"]).max(1.0);
        out.push_str(&format!("cpu        {each:.1} us a decision\n"));
        for (kind, count) in counts["faults"].as_object().into_iter().flatten() {
            out.push_str(&format!("fault      {kind}: {count}\n"));
        }
        if let Some(detail) = counts["last_fault"]["detail"].as_str() {
            let at = text(&counts["last_fault"]["at"]);
            out.push_str(&format!("last       {at}: {detail}\n"));
        }
    }
    if !row["canary"].is_null() {
        out.push_str(&super::canary::shown(&row["canary"]));
    }
    if !row["shadow"].is_null() {
        out.push_str(&divergence(&row["shadow"]));
    }
    out
}

pub(super) fn promoted(answer: &Value) -> String {
    let mut out = format!(
        "{} {} is live, epoch {}\n",
        text(&answer["name"]),
        short(&answer["digest"]),
        answer["epoch"]
    );
    out.push_str(if answer["decided"] == true {
        "it has taken its first decision\n"
    } else {
        "no decision yet: nobody waits for one\n"
    });
    out.push_str(&format!(
        "ready in {:.1} ms, installed in {:.0} us, {} bytes of state handed over\n",
        number(&answer["prepare_ms"]),
        number(&answer["install_us"]),
        answer["state_bytes"],
    ));
    if answer["durable"] != true {
        out.push_str("a restart forgets it: the server has no --state-dir\n");
    }
    out
}

pub(super) fn shadow(answer: &Value) -> String {
    format!(
        "{} {} decides in shadow\n{}",
        text(&answer["name"]),
        short(&answer["digest"]),
        divergence(answer)
    )
}

/// What came of a shadow run, on a line.
pub(super) fn divergence(shadow: &Value) -> String {
    let (seen, offered) = (number(&shadow["seen"]), number(&shadow["offered"]));
    let compared = number(&shadow["compared"]);
    let tau = shadow["kendall_tau"]
        .as_f64()
        .map_or_else(|| "-".to_owned(), |tau| format!("{tau:.3}"));
    format!(
        "shadow     saw {seen} of {offered} decisions; other jobs chosen in {:.1} %; \
         tau {tau}; {} failed; {:.1} ms of CPU\n",
        100.0 * number(&shadow["differed"]) / compared.max(1.0),
        shadow["failed"].as_u64().unwrap_or(0),
        number(&shadow["cpu_s"]) * 1e3,
    ) + &estimate(shadow)
}

/// What a policy in shadow would make of completion times, if that is known.
fn estimate(shadow: &Value) -> String {
    if let Some(why) = shadow["no_estimate"].as_str() {
        return format!("estimate   none: {why}\n");
    }
    let estimate = &shadow["estimate"];
    if estimate.is_null() {
        return String::new();
    }
    format!(
        "estimate   mean JCT {:+.1} %: {:.3} s instead of {:.3} s, simulated over {} requests of \
         {:.0} s; the simulation is {:+.1} % off the record\n",
        100.0 * number(&estimate["change"]),
        number(&estimate["shadow_jct_s"]),
        number(&estimate["live_jct_s"]),
        number(&estimate["requests"]),
        number(&estimate["window_s"]),
        100.0 * number(&estimate["calibration_error"]),
    )
}

pub(super) fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_list_shows_who_is_live_and_what_went_wrong() {
        let answer = json!({"epoch": 4, "policies": [
            {"digest": "ab".repeat(32), "name": "fcfs", "role": "live", "counts": null},
            {"digest": "cd".repeat(32), "name": "rogue", "role": "stored", "counts": {
                "decisions": 7, "strikes": 1, "faults": {"trap": 2, "over-budget": 3},
                "last_fault": {"kind": "trap", "at": "2026-11-25T16:00:00Z", "detail": "x"},
            }},
        ]});
        let text = list(&answer);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "epoch 4");
        assert!(lines[2].starts_with("abababababab  fcfs       live"));
        assert!(lines[3].contains("rogue") && lines[3].contains("7       5       1  trap at 2026"));
    }

    #[test]
    fn a_shadow_says_how_much_it_saw() {
        let counts = json!({
            "seen": 50, "offered": 200, "compared": 40, "differed": 10, "failed": 0,
            "kendall_tau": 0.25, "cpu_s": 0.0021,
            "estimate": {"change": -0.4, "live_jct_s": 2.0, "shadow_jct_s": 1.2, "requests": 90,
                         "window_s": 30.0, "calibration_error": 0.05},
        });
        let line = divergence(&counts);
        assert!(line.contains("saw 50 of 200"), "{line}");
        assert!(
            line.contains("25.0 %; tau 0.250; 0 failed; 2.1 ms"),
            "{line}"
        );
        assert!(
            line.contains("JCT -40.0 %: 1.200 s instead of 2.000 s"),
            "{line}"
        );
        assert!(line.contains("+5.0 % off"), "{line}");
    }
}
