//! How well the length of a response can be known when its prompt arrives: what other answers to
//! the same prompt say of it. Nobody has those; whoever reads prompts can hardly do better.

use std::collections::HashSet;

use serde::Serialize;

use super::corpus::Corpus;
use super::judge::tau;
use super::recipe::lengths;
use super::sampling::Sample;

/// Answers to a prompt below which the others say little.
const ANSWERS_MIN: usize = 3;

/// What the others say of one answer, on average over all answers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ceiling {
    /// The model that answers.
    pub model: String,
    /// Prompts that it answered three times or more.
    pub prompts: usize,
    /// Mean absolute error of the others' median, in tokens.
    pub mae_tokens: f32,
    /// Kendall's tau-b of the others' mean, against the one.
    pub tau: f32,
}

/// One for each model that answered prompts several times; empty where none did.
pub fn ceilings(corpus: &Corpus, samples: &[Sample], cap_tokens: u32) -> Vec<Ceiling> {
    let of_model = |model: usize| {
        // Of a prompt whose longest and shortest answer are both kept, each lists all lengths.
        let mut seen = HashSet::new();
        let arrivals = samples.iter().filter(|sample| sample.step == 0);
        let prompts = arrivals.filter(|sample| corpus.model_of[sample.response] == model);
        let answers: Vec<Vec<f32>> = prompts
            .filter(|sample| seen.insert(corpus.prompt_of[sample.response]))
            .map(|sample| lengths(corpus, sample, cap_tokens))
            .filter(|answers| answers.len() >= ANSWERS_MIN)
            .collect();
        ceiling(&corpus.models[model], &answers)
    };
    (0..corpus.models.len()).filter_map(of_model).collect()
}

/// Takes each answer of each prompt in its turn; `None` without prompts.
fn ceiling(model: &str, answers: &[Vec<f32>]) -> Option<Ceiling> {
    let most = answers.iter().map(Vec::len).max()?;
    let (mut errors, mut count, mut taus) = (0.0f64, 0u32, 0.0f64);
    for turn in 0..most {
        let (mut said, mut truth) = (Vec::new(), Vec::new());
        for all in answers.iter().filter(|all| all.len() > turn) {
            let mut others = all.clone();
            let one = others.remove(turn);
            others.sort_unstable_by(f32::total_cmp);
            errors += f64::from((others[others.len() / 2] - one).abs());
            count += 1;
            said.push(others.iter().sum::<f32>() / others.len() as f32);
            truth.push(one);
        }
        taus += f64::from(tau(&said, &truth));
    }
    Some(Ceiling {
        model: model.to_owned(),
        prompts: answers.len(),
        mae_tokens: (errors / f64::from(count)) as f32,
        tau: (taus / most as f64) as f32,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_that_agree_say_all_and_others_little() {
        let alike: Vec<Vec<f32>> = (1..50).map(|i| vec![i as f32 * 10.0; 4]).collect();
        let found = ceiling("m", &alike).unwrap();
        assert_eq!((found.prompts, found.mae_tokens, found.tau), (49, 0.0, 1.0));
        // Every prompt has the same answers, so that the others say nothing of an order.
        let apart: Vec<Vec<f32>> = (0..50).map(|_| vec![10.0, 20.0, 30.0]).collect();
        let found = ceiling("m", &apart).unwrap();
        // The medians of two are their larger: 30 for 10, 30 for 20, 20 for 30.
        assert!((found.mae_tokens - 40.0 / 3.0).abs() < 1e-4, "{found:?}");
        assert!(ceiling("m", &[]).is_none());
    }
}
