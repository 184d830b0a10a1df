//! What a probe says of itself: `probe.json`, and the same in words.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::head::Shape;

/// The description of a probe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProbeCard {
    /// `elis-probe/1`.
    pub schema: String,
    /// The model whose hidden states it reads; those of another mean nothing to it.
    pub model: String,
    /// After which of its layers, from 0.
    pub layer: u32,
    /// Tokens between two states, as a rule.
    pub every_tokens: u32,
    /// The network.
    pub shape: Shape,
    /// Files that it was trained on, with their SHA-256.
    pub data: Vec<(String, String)>,
    /// Licences of the prompts.
    pub licences: Vec<String>,
    /// How states were divided.
    pub split: String,
    /// States that weights were fitted to.
    pub rows: u64,
    /// The loss and the optimiser.
    pub method: String,
    /// The seed.
    pub seed: u64,
    /// Mean absolute error of the median on validation states, before smoothing.
    pub validation_mae_tokens: Option<f32>,
}

/// The version of the description that this code writes and reads.
pub(super) const SCHEMA: &str = "elis-probe/1";

impl ProbeCard {
    /// A card of a network for a layer of a model; where it came from is still to be said.
    pub fn of(model: &str, layer: u32, shape: Shape) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            model: model.to_owned(),
            layer,
            every_tokens: 8,
            shape,
            data: Vec::new(),
            licences: Vec::new(),
            split: String::new(),
            rows: 0,
            method: String::new(),
            seed: 0,
            validation_mae_tokens: None,
        }
    }

    /// The card in Markdown.
    pub fn markdown(&self) -> String {
        let mut text = String::from("# A probe of response lengths\n\n");
        let mut line = |name: &str, value: String| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "- **{name}**: {value}");
        };
        let of = format!("layer {} of {}", self.layer, self.model);
        line(
            "Reads",
            format!(
                "the hidden state after {of}, every {} tokens",
                self.every_tokens
            ),
        );
        line("Licences of the prompts", self.licences.join(", "));
        line("Split", self.split.clone());
        line("Method", self.method.clone());
        line("Seed", self.seed.to_string());
        line("States trained on", self.rows.to_string());
        if let Some(mae) = self.validation_mae_tokens {
            let mae = format!("{mae:.1} tokens, before smoothing");
            line("Mean absolute error on validation states", mae);
        }
        text.push_str("\nFiles trained on:\n\n");
        for (name, digest) in &self.data {
            let _ = writeln!(text, "- `{name}` (SHA-256 {digest})");
        }
        text.push_str(
            "\nIt predicts how many tokens a response still needs, for scheduling, from the hidden \
             states of this model and of no other.\n",
        );
        text
    }
}
