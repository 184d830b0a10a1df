//! Measures the ways interleaved, so that whatever else the machine does strikes them alike.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;

use crate::queue::Queue;
use crate::ways::Way;

/// How long the calls of one way in one repetition take, about.
const TURN: Duration = Duration::from_millis(4);

/// Calls in one turn: the first is cold and does not count as warm.
const FEWEST_CALLS: u32 = 4;
const MOST_CALLS: u32 = 400;

/// Microseconds of one way in one repetition.
#[derive(Debug, Clone, Copy)]
struct Turn {
    /// The first call, after the other ways had the caches.
    cold_us: f64,
    /// The median of the others.
    warm_us: f64,
}

/// What one way came to, in microseconds for one decision.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Measured {
    /// Median over the repetitions of the medians of calls in a row.
    pub warm_us: f64,
    /// Median over the repetitions of the first call after the other ways.
    pub cold_us: f64,
    /// How many times slower than the first way, warm: the median of the repetitions' ratios.
    pub ratio: f64,
    /// Their quartiles.
    pub ratio_quartiles: [f64; 2],
    /// The same, cold.
    pub cold_ratio: f64,
}

/// Measures all ways over one queue; ratios are to the first.
pub fn compare(ways: &mut [Way], queue: &Queue, repetitions: usize) -> Result<Vec<Measured>> {
    let mut calls = Vec::new();
    for way in ways.iter_mut() {
        calls.push(calls_per_turn(way, queue)?);
    }
    let count = ways.len();
    let mut turns: Vec<Vec<Turn>> = vec![Vec::new(); count];
    for repetition in 0..repetitions {
        // The order rotates, so that each follows each.
        for at in (0..count).map(|i| (i + repetition) % count) {
            turns[at].push(turn(&mut ways[at], queue, calls[at])?);
        }
    }
    Ok(turns.iter().map(|own| measured(own, &turns[0])).collect())
}

fn calls_per_turn(way: &mut Way, queue: &Queue) -> Result<u32> {
    let _ = way.decide(queue)?;
    let start = Instant::now();
    let _ = black_box(way.decide(queue)?);
    let calls = TURN.as_nanos() / start.elapsed().as_nanos().max(1);
    Ok((calls as u32).clamp(FEWEST_CALLS, MOST_CALLS))
}

fn turn(way: &mut Way, queue: &Queue, calls: u32) -> Result<Turn> {
    let mut us = Vec::with_capacity(calls as usize);
    for _ in 0..calls {
        let start = Instant::now();
        let picked = way.decide(black_box(queue))?;
        us.push(start.elapsed().as_nanos() as f64 / 1e3);
        let _ = black_box(picked);
    }
    Ok(Turn {
        cold_us: us[0],
        warm_us: quantile(&us[1..], 0.5),
    })
}

fn measured(own: &[Turn], first: &[Turn]) -> Measured {
    let pick = |f: fn(&Turn) -> f64| -> Vec<f64> { own.iter().map(f).collect() };
    let ratios = |f: fn(&Turn) -> f64| -> Vec<f64> {
        own.iter()
            .zip(first)
            .map(|(own, first)| f(own) / f(first))
            .collect()
    };
    let warm_ratios = ratios(|turn| turn.warm_us);
    Measured {
        warm_us: quantile(&pick(|turn| turn.warm_us), 0.5),
        cold_us: quantile(&pick(|turn| turn.cold_us), 0.5),
        ratio: quantile(&warm_ratios, 0.5),
        ratio_quartiles: [quantile(&warm_ratios, 0.25), quantile(&warm_ratios, 0.75)],
        cold_ratio: quantile(&ratios(|turn| turn.cold_us), 0.5),
    }
}

/// The value below which that share lies; at least one value is needed.
fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[((sorted.len() - 1) as f64 * share).round() as usize]
}
