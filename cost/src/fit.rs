//! Fits a linear cost model to measured iterations: its shape by least squares on the relative
//! error, so that short iterations count as much as long ones, its size by the time of all of them.
//!
//! Relative errors alone would put a model below scattered measurements, by about twice the square
//! of the scatter: with a third of them three times too long, as on a busy machine, it would be a
//! third too fast. A queue feels the time that iterations take together.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::model::{CostModel, Load};

/// One measured iteration.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// Sequences that decoded.
    pub decode_seqs: u32,
    /// Their context together, in tokens.
    pub decode_kv_tokens: u64,
    /// Prompt tokens that were read.
    pub prefill_tokens: u64,
    /// How long it took.
    pub latency_ms: f64,
}

/// A fitted model and how well it fits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fitted {
    /// The model.
    pub cost: CostModel,
    /// Mean absolute relative error.
    pub mape: f64,
    /// Largest absolute relative error.
    pub largest: f64,
}

/// Why nothing can be fitted.
#[derive(Debug, Error)]
pub enum FitError {
    /// A row that cannot be.
    #[error("row {row}: latency_ms must be larger than 0, not {latency_ms}")]
    Latency {
        /// Data row, from 1.
        row: usize,
        /// What it says.
        latency_ms: f64,
    },
    /// Nothing varies enough to tell the coefficients apart.
    #[error(
        "{rows} rows do not tell {needed} coefficients apart: measure several batch sizes, context \
         lengths and prompt lengths"
    )]
    TooLittle {
        /// Rows.
        rows: usize,
        /// Coefficients.
        needed: usize,
    },
}

/// Fits `base + per_seq * b + per_kv_token * k + per_prefill_token * p`, leaving out what the data
/// never vary and what would come out negative. All rows together take as long as was measured.
///
/// # Errors
/// Data from which no model follows.
pub fn linear(rows: &[Measurement]) -> Result<Fitted, FitError> {
    for (i, row) in rows.iter().enumerate() {
        if !(row.latency_ms > 0.0 && row.latency_ms.is_finite()) {
            return Err(FitError::Latency {
                row: i + 1,
                latency_ms: row.latency_ms,
            });
        }
    }
    let features = |row: &Measurement| {
        let (b, k) = (f64::from(row.decode_seqs), row.decode_kv_tokens as f64);
        [1.0, b, k, row.prefill_tokens as f64]
    };
    let mut active: Vec<usize> = (0..4)
        .filter(|&j| {
            j == 0
                || rows
                    .iter()
                    .any(|row| features(row)[j] != features(&rows[0])[j])
        })
        .collect();
    let too_little = |needed| FitError::TooLittle {
        rows: rows.len(),
        needed,
    };
    loop {
        let needed = active.len();
        if rows.len() < needed {
            return Err(too_little(needed));
        }
        let solution = least_squares(rows, &active, features).ok_or_else(|| too_little(needed))?;
        let lowest = (0..needed).min_by(|&a, &b| solution[a].total_cmp(&solution[b]));
        match lowest.filter(|&at| solution[at] < 0.0) {
            Some(at) if needed > 1 => {
                active.remove(at);
            }
            _ => return Ok(judge(rows, sized(rows, &active, &solution, features))),
        }
    }
}

/// Weighted normal equations, solved by elimination with pivots.
fn least_squares(
    rows: &[Measurement],
    active: &[usize],
    features: impl Fn(&Measurement) -> [f64; 4],
) -> Option<Vec<f64>> {
    let n = active.len();
    let mut m = vec![vec![0.0; n + 1]; n];
    for row in rows {
        let x = features(row);
        // Relative errors count: dividing a row by its latency weights it by the inverse square.
        let weight = (row.latency_ms * 1e3).powi(-2);
        for (i, &a) in active.iter().enumerate() {
            for (j, &b) in active.iter().enumerate() {
                m[i][j] += weight * x[a] * x[b];
            }
            m[i][n] += weight * x[a] * row.latency_ms * 1e3;
        }
    }
    for i in 0..n {
        let pivot = (i..n).max_by(|&a, &b| m[a][i].abs().total_cmp(&m[b][i].abs()))?;
        m.swap(i, pivot);
        let diagonal = m[i][i];
        if diagonal.abs() < 1e-18 {
            return None;
        }
        for value in &mut m[i] {
            *value /= diagonal;
        }
        let pivot_row = m[i].clone();
        for (_, row) in m.iter_mut().enumerate().filter(|(j, _)| *j != i) {
            let factor = row[i];
            row.iter_mut()
                .zip(&pivot_row)
                .for_each(|(value, p)| *value -= factor * p);
        }
    }
    Some(m.into_iter().map(|row| row[n]).collect())
}

/// The model of a solution, as large as makes its sum over the rows what was measured.
fn sized(
    rows: &[Measurement],
    active: &[usize],
    solution: &[f64],
    features: impl Fn(&Measurement) -> [f64; 4],
) -> CostModel {
    let predicted = |row: &Measurement| {
        let features = features(row);
        let terms = active.iter().zip(solution).map(|(&j, c)| c * features[j]);
        terms.sum::<f64>()
    };
    let measured_us = rows.iter().map(|row| row.latency_ms * 1e3).sum::<f64>();
    let size = measured_us / rows.iter().map(predicted).sum::<f64>();
    let coefficient = |j| {
        let at = active.iter().position(|&a| a == j);
        // To picoseconds: the digits behind are those of the arithmetic.
        at.map_or(0.0, |at| (solution[at] * size * 1e6).round() / 1e6)
    };
    CostModel::Linear {
        base_us: coefficient(0),
        per_seq_us: coefficient(1),
        per_kv_token_us: coefficient(2),
        per_prefill_token_us: coefficient(3),
    }
}

fn judge(rows: &[Measurement], cost: CostModel) -> Fitted {
    let error = |row: &Measurement| {
        let load = Load {
            decode_seqs: row.decode_seqs,
            decode_kv_tokens: row.decode_kv_tokens,
            prefill_tokens: row.prefill_tokens,
            ..Load::default()
        };
        (cost.iteration_ns(&load) as f64 / 1e6 / row.latency_ms - 1.0).abs()
    };
    let mape = rows.iter().map(error).sum::<f64>() / rows.len().max(1) as f64;
    Fitted {
        cost,
        mape,
        largest: rows.iter().map(error).fold(0.0, f64::max),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(cost: CostModel) -> Vec<Measurement> {
        let mut rows = Vec::new();
        for b in [1, 8, 64] {
            for k in [128, 2_048] {
                for p in [0, 512] {
                    let load = Load {
                        decode_seqs: b,
                        decode_kv_tokens: u64::from(b) * k,
                        prefill_tokens: p,
                        ..Load::default()
                    };
                    rows.push(Measurement {
                        decode_seqs: b,
                        decode_kv_tokens: load.decode_kv_tokens,
                        prefill_tokens: p,
                        latency_ms: cost.iteration_ns(&load) as f64 / 1e6,
                    });
                }
            }
        }
        rows
    }

    #[test]
    fn exact_data_give_their_own_coefficients_back() {
        let truth = CostModel::Linear {
            base_us: 9_000.0,
            per_seq_us: 30.0,
            per_kv_token_us: 0.4,
            per_prefill_token_us: 55.0,
        };
        let fitted = linear(&grid(truth)).unwrap();
        assert!(fitted.largest < 1e-6, "{fitted:?}");
    }

    #[test]
    fn scattered_data_take_as_long_together_as_the_model_says() {
        let truth = CostModel::Linear {
            base_us: 9_000.0,
            per_seq_us: 30.0,
            per_kv_token_us: 0.4,
            per_prefill_token_us: 55.0,
        };
        let mut rows = grid(truth);
        rows.extend(rows.clone());
        let measured = |rows: &[Measurement]| rows.iter().map(|row| row.latency_ms).sum::<f64>();
        let clean = measured(&rows);
        for (i, row) in rows.iter_mut().enumerate() {
            row.latency_ms *= if i < 12 { 0.6 } else { 1.4 };
        }
        assert!((measured(&rows) - clean).abs() < 1e-6);
        let CostModel::Linear {
            base_us,
            per_kv_token_us,
            ..
        } = linear(&rows).unwrap().cost
        else {
            panic!("a linear model was fitted");
        };
        // Half of each are 0.6 of the truth, half 1.4: the truth is what they are together.
        assert!((base_us / 9_000.0 - 1.0).abs() < 1e-6, "{base_us}");
        assert!(
            (per_kv_token_us / 0.4 - 1.0).abs() < 1e-6,
            "{per_kv_token_us}"
        );
    }

    #[test]
    fn too_little_data_is_said() {
        let row = Measurement {
            decode_seqs: 1,
            decode_kv_tokens: 10,
            prefill_tokens: 0,
            latency_ms: -1.0,
        };
        assert!(linear(&[row]).unwrap_err().to_string().contains("row 1"));
        assert!(linear(&[]).unwrap_err().to_string().contains("0 rows"));
    }
}
