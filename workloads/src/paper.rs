//! The request rates of the ELIS paper (arXiv 2505.09142, s6.1).

/// A model's mean latency on an A100, from Table 4 (500 prompts).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PaperModel {
    /// The name as specs write it.
    pub name: &'static str,
    /// Mean latency of one request.
    pub latency_ms: f64,
}

/// ELIS Table 4.
pub const MODELS: [PaperModel; 5] = [
    PaperModel {
        name: "opt-6.7b",
        latency_ms: 1315.5,
    },
    PaperModel {
        name: "opt-13b",
        latency_ms: 2643.2,
    },
    PaperModel {
        name: "llama2-7b",
        latency_ms: 6522.2,
    },
    PaperModel {
        name: "llama2-13b",
        latency_ms: 8610.2,
    },
    PaperModel {
        name: "vicuna-13b",
        latency_ms: 2964.9,
    },
];

/// Shape of the Gamma that the paper fitted to FabriX inter-arrival times (s4.1).
pub const GAMMA_SHAPE: f64 = 0.73;

/// The paper's request rate in requests per second: `multiple * (1000 / latency_ms) * batch`.
/// `None` for a model that Table 4 does not hold.
///
/// The paper does not say how it rescales the Gamma to this rate; we keep the shape and set the
/// scale to `1 / (shape * rate)`.
#[must_use]
pub fn rate_rps(model: &str, batch: u32, multiple: f64) -> Option<f64> {
    let model = MODELS.iter().find(|m| m.name == model)?;
    Some(multiple * 1000.0 / model.latency_ms * f64::from(batch))
}

/// The model names, for an error message.
#[must_use]
pub fn model_names() -> String {
    MODELS.map(|m| m.name).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_those_worked_out_from_the_paper() {
        let rate = |m, b, x| (rate_rps(m, b, x).unwrap() * 1000.0).round() / 1000.0;
        assert_eq!(rate("llama2-13b", 4, 5.0), 2.323);
        assert_eq!(rate("opt-6.7b", 1, 1.0), 0.760);
        assert_eq!(rate("vicuna-13b", 2, 3.0), 2.024);
        assert!(rate_rps("gpt-2", 1, 1.0).is_none());
    }
}
