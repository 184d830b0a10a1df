//! What a trained predictor says of itself: `predictor.json`, and the same in words.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::head::Shape;

/// The description of a trained predictor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Card {
    /// `elis-predictor/1`.
    pub schema: String,
    /// The encoder, a folder or a name on the hub; empty where no head needs one.
    pub encoder: String,
    /// SHA-256 of its weights; empty where no head needs one, or in a card from before 2026-11-26.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub encoder_sha256: String,
    /// The models that were trained on; a request says which of them answers it.
    pub models: Vec<String>,
    /// The head for the prompt alone.
    pub arrival: Shape,
    /// The head for prompt and response so far.
    pub later: Shape,
    /// What it was trained on and how.
    pub provenance: Provenance,
    /// How well it did, on prompts that it was not fitted to.
    pub figures: Figures,
}

impl Card {
    /// The number of a model that was trained on; `None` for any other. Where no name is the same
    /// letter by letter, one is that differs in what hubs, files and servers write differently: an
    /// owner before a slash, case, and what stands between the parts.
    pub(super) fn model(&self, name: &str) -> Option<usize> {
        let place = |same: &dyn Fn(&String) -> bool| self.models.iter().position(same);
        let plain = in_plain(name);
        place(&|known| known == name)
            .or_else(|| place(&|known| !plain.is_empty() && in_plain(known) == plain))
    }
}

/// The last part of a model's name, in small letters and with hyphens only.
fn in_plain(name: &str) -> String {
    let own = name.rsplit('/').next().unwrap_or(name).chars();
    let plain = |c: char| {
        if c.is_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            '-'
        }
    };
    own.map(plain).collect()
}

/// What a predictor was trained on and how.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// Files, with their SHA-256.
    pub data: Vec<(String, String)>,
    /// Responses of each source that were used.
    pub sources: Vec<(String, u64)>,
    /// Licences of the prompts, as the files give them.
    pub licences: Vec<String>,
    /// How samples were divided.
    pub split: String,
    /// Rows that weights were fitted to, at arrival and later.
    pub rows: [u64; 2],
    /// The loss and the optimiser.
    pub method: String,
    /// The seed.
    pub seed: u64,
    /// Lengths beyond this count as this many.
    pub cap_tokens: u32,
    /// The epoch after which the fit of each head was interrupted and went on, with the optimiser's
    /// moments begun anew: the seed alone does not bring such weights back.
    #[serde(default, skip_serializing_if = "is_whole")]
    pub resumed_after: [Option<usize>; 2],
}

fn is_whole(resumed_after: &[Option<usize>; 2]) -> bool {
    *resumed_after == [None; 2]
}

/// Errors on validation prompts, in tokens.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Mean absolute error of the median at arrival.
    pub arrival_mae_tokens: f32,
    /// The same over all later steps.
    pub later_mae_tokens: f32,
}

/// The version of the description that this code writes and reads.
pub(crate) const SCHEMA: &str = "elis-predictor/1";

impl Card {
    /// What is encoded, where that is less than everything.
    fn encoded(&self) -> &'static str {
        let reads = [&self.arrival, &self.later].map(|shape| shape.spec.reads_embeddings());
        match reads {
            [true, false] => ", at arrival only: what is generated is never encoded",
            _ => "",
        }
    }

    /// The card in Markdown.
    pub fn markdown(&self) -> String {
        let mut text = String::from("# A predictor of response lengths\n\n");
        let p = &self.provenance;
        let mut line = |name: &str, value: String| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "- **{name}**: {value}");
        };
        let none = "none, it looks at words only".to_owned();
        let encoder = Some(self.encoder.clone()).filter(|name| !name.is_empty());
        line("Encoder", encoder.unwrap_or(none) + self.encoded());
        line("Models that answered", self.models.join(", "));
        let sources = p
            .sources
            .iter()
            .map(|(name, n)| format!("{name} ({n} responses)"));
        line(
            "Sources of the prompts",
            sources.collect::<Vec<_>>().join(", "),
        );
        line("Licences of the prompts", p.licences.join(", "));
        line("Split", p.split.clone());
        line("Method", p.method.clone());
        line("Seed", p.seed.to_string());
        let rows = format!("{} at arrival, {} later", p.rows[0], p.rows[1]);
        line("Rows trained on", rows);
        let cap = format!("longer responses count as {} tokens", p.cap_tokens);
        line("Cap", cap);
        for (head, after) in ["arrival", "later"].into_iter().zip(p.resumed_after) {
            if let Some(epoch) = after {
                let what = format!("the head for {head} went on after epoch {epoch}");
                line("Interrupted", what);
            }
        }
        let f = &self.figures;
        line(
            "Mean absolute error on validation prompts",
            format!(
                "{:.1} tokens at arrival, {:.1} later",
                f.arrival_mae_tokens, f.later_mae_tokens
            ),
        );
        text.push_str("\nFiles trained on:\n\n");
        for (name, digest) in &p.data {
            let _ = writeln!(text, "- `{name}` (SHA-256 {digest})");
        }
        text.push_str(
            "\nIt predicts how many tokens a response still needs, for scheduling. It reads the \
             prompt and the response so far, and keeps neither. Outside the kinds of prompts above \
             it can be worse than a constant: judge it with `elis-predictor eval` on your own.\n",
        );
        text
    }
}
