//! What a head looks at, and how that becomes a row of numbers.

use serde::{Deserialize, Serialize};

use crate::features::{PROMPT_NAMES, PromptText, RESPONSE_NAMES, ResponseText};

/// One kind of input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Input {
    /// The embedding of the prompt.
    PromptEmbedding,
    /// The mean of the embeddings of the prompt and of every window: the paper's mean pooling over
    /// prompt and answer, without encoding the answer anew each time.
    TextEmbedding,
    /// The embedding of the newest window.
    WindowEmbedding,
    /// What the words of the prompt tell; its tokens are among it.
    PromptLexical,
    /// What the words of the response so far tell; its tokens are among it.
    ResponseLexical,
    /// Which model answers, one of those that were trained on.
    ServedModel,
    /// The served model's own hidden state at the newest token; as long as an embedding.
    HiddenState,
}

/// Everything that is known about a request when its length is predicted.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// What the prompt says.
    pub prompt: &'a PromptText,
    /// What the response says so far; `None` before it has begun.
    pub response: Option<&'a ResponseText>,
    /// The embedding of the prompt.
    pub prompt_embedding: &'a [f32],
    /// The sum of the embeddings of all windows; empty where there are none.
    pub windows_embedding: &'a [f32],
    /// How many windows that sum has.
    pub windows: usize,
    /// The embedding of the newest window; empty where there is none.
    pub window_embedding: &'a [f32],
    /// Which of the models that were trained on answers.
    pub served_model: Option<usize>,
    /// The served model's hidden state; empty where nobody hands it over.
    pub hidden_state: &'a [f32],
}

impl Input {
    /// How many numbers it is.
    pub fn width(self, embedding: usize, models: usize) -> usize {
        match self {
            Self::PromptEmbedding
            | Self::TextEmbedding
            | Self::WindowEmbedding
            | Self::HiddenState => embedding,
            Self::PromptLexical => PROMPT_NAMES.len(),
            Self::ResponseLexical => RESPONSE_NAMES.len(),
            Self::ServedModel => models,
        }
    }

    /// Whether it needs the encoder.
    pub fn is_embedding(self) -> bool {
        matches!(
            self,
            Self::PromptEmbedding | Self::TextEmbedding | Self::WindowEmbedding
        )
    }

    /// Whether it needs the encoder for what is generated.
    pub fn is_of_windows(self) -> bool {
        matches!(self, Self::TextEmbedding | Self::WindowEmbedding)
    }

    /// Appends it to a row; what is not there is zeros.
    pub(crate) fn write(self, width: usize, evidence: &Evidence<'_>, row: &mut Vec<f32>) {
        let end = row.len() + width;
        match self {
            Self::PromptEmbedding => row.extend_from_slice(evidence.prompt_embedding),
            Self::WindowEmbedding => row.extend_from_slice(evidence.window_embedding),
            Self::HiddenState => row.extend_from_slice(evidence.hidden_state),
            Self::TextEmbedding => {
                let parts = (evidence.windows + 1) as f32;
                let windows = evidence
                    .windows_embedding
                    .iter()
                    .chain(std::iter::repeat(&0.0));
                let sum = evidence.prompt_embedding.iter().zip(windows);
                row.extend(sum.map(|(prompt, windows)| (prompt + windows) / parts));
            }
            Self::PromptLexical => row.extend_from_slice(evidence.prompt.features()),
            Self::ResponseLexical => {
                if let Some(response) = evidence.response {
                    row.extend_from_slice(response.features());
                }
            }
            Self::ServedModel => {
                row.extend(
                    (0..width)
                        .map(|model| f32::from(u8::from(evidence.served_model == Some(model)))),
                );
            }
        }
        row.resize(end, 0.0);
    }
}
