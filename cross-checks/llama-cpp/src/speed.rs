//! Tokens per second of CPU time, in turns.

use anyhow::Result;
use cpu_time::ProcessTime;

use crate::llama::{Context, Part};
use crate::ours::Ours;

/// Tokens of a prompt.
const PROMPT: usize = 256;
/// Tokens that a sequence has before it decodes: the first has most, the others fewer.
const SPREAD: usize = 17;
/// Decode steps before the contexts are as they were again.
const STEPS: usize = 32;

/// What is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cell {
    /// A prompt, alone.
    Prefill,
    /// Steps of so many sequences of different lengths.
    Decode(usize),
}

impl Cell {
    pub fn name(self) -> String {
        match self {
            Self::Prefill => format!("prefill of {PROMPT}"),
            Self::Decode(batch) => format!("decode, batch {batch}"),
        }
    }

    /// Tokens that each sequence has before it decodes.
    fn lengths(self) -> Vec<usize> {
        let batch = match self {
            Self::Prefill => 0,
            Self::Decode(batch) => batch,
        };
        (0..batch)
            .map(|i| PROMPT.saturating_sub(SPREAD * i).max(1))
            .collect()
    }
}

fn part(tokens: &[u32], context: usize) -> Part<'_> {
    Part {
        tokens,
        context,
        all_logits: false,
    }
}

/// The rates of each round, ours and llama.cpp's.
pub fn rates(
    ours: &mut Ours,
    theirs: &Context<'_>,
    cell: Cell,
    text: &[u32],
    (rounds, seconds): (usize, f64),
) -> Result<Vec<[f64; 2]>> {
    let mut mine = |parts: &[Part<'_>]| {
        ours.forward(parts, |_| ());
        Ok(())
    };
    let mut other = |parts: &[Part<'_>]| theirs.forward(parts, |_| ());
    // Steps write behind the contexts only, so that these stay for all rounds.
    let lengths = cell.lengths();
    let prompts: Vec<_> = lengths.iter().map(|&n| part(&text[..n], 0)).collect();
    if !prompts.is_empty() {
        mine(&prompts)?;
        other(&prompts)?;
    }
    // The first round warms up.
    let all = (0..=rounds).map(|round| {
        let mut one = |turn: usize| match turn {
            0 => rate(&mut mine, cell, text, seconds),
            _ => rate(&mut other, cell, text, seconds),
        };
        let (first, second) = (one(round % 2)?, one(1 - round % 2)?);
        Ok(if round % 2 == 0 {
            [first, second]
        } else {
            [second, first]
        })
    });
    let all: Result<Vec<_>> = all.collect();
    Ok(all?.split_off(1))
}

/// Tokens per CPU second, after at least so many seconds.
fn rate(
    forward: &mut dyn FnMut(&[Part<'_>]) -> Result<()>,
    cell: Cell,
    text: &[u32],
    seconds: f64,
) -> Result<f64> {
    let (mut tokens, mut spent) = (0, 0.0);
    match cell {
        Cell::Prefill => {
            while spent < seconds {
                let begin = ProcessTime::now();
                forward(&[part(&text[..PROMPT], 0)])?;
                spent += begin.elapsed().as_secs_f64();
                tokens += PROMPT;
            }
        }
        Cell::Decode(batch) => {
            let lengths = cell.lengths();
            while spent < seconds {
                let begin = ProcessTime::now();
                for step in 0..STEPS {
                    let at = lengths.iter().map(|n| n + step);
                    let parts: Vec<_> = at.map(|at| part(&text[at..=at], at)).collect();
                    forward(&parts)?;
                }
                spent += begin.elapsed().as_secs_f64();
                tokens += STEPS * batch;
            }
        }
    }
    Ok(tokens as f64 / spent)
}
