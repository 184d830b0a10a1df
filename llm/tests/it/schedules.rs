//! Whatever the schedule, a sequence's greedy response is the same, token for token.

use std::ops::Range;

use elis_llm::{Cache, Model, Part, Sequence, Workspace, likeliest};
use proptest::prelude::*;

use super::toy;

/// What a schedule does with a sequence in one iteration.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fate {
    Run(usize),
    Pause,
    Swap,
    Evict,
}

pub(crate) fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        8 => (1usize..40).prop_map(Fate::Run),
        3 => Just(Fate::Pause),
        1 => Just(Fate::Swap),
        1 => Just(Fate::Evict),
    ]
}

/// The same for long responses, where computing all of it again costs more.
pub(crate) fn calm_fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        24 => (1usize..40).prop_map(Fate::Run),
        6 => Just(Fate::Pause),
        2 => Just(Fate::Swap),
        1 => Just(Fate::Evict),
    ]
}

/// What the model would say after the prompt and after each token of a response, alone, read in one
/// go. A response that this gives back is the greedy one.
pub(crate) fn read(model: &Model, prompt: &[u32], response: &[u32]) -> Vec<u32> {
    let tokens = [prompt, &response[..response.len() - 1]].concat();
    let mut cache = Cache::new(model.config().kv_layout(), 40);
    let mut table = Vec::new();
    cache.grow(&mut table, tokens.len()).unwrap();
    let part = |range: Range<usize>| Part {
        context: range.start,
        tokens: &tokens[range],
        table: &table,
        wants_logits: true,
    };
    let single = (prompt.len()..tokens.len()).map(|at| part(at..at + 1));
    let parts: Vec<Part<'_>> = std::iter::once(part(0..prompt.len()))
        .chain(single)
        .collect();
    let mut space = Workspace::default();
    let logits = model.forward(&parts, &mut cache, &mut space);
    let rows = logits.chunks_exact(model.config().vocabulary);
    rows.map(likeliest).collect()
}

/// The greedy response to a prompt, alone and in one piece.
pub(crate) fn alone(model: &Model, prompt: &[u32], tokens: usize) -> Vec<u32> {
    let mut cache = Cache::new(model.config().kv_layout(), 40);
    let mut space = Workspace::default();
    let mut sequence = Sequence::new(prompt);
    while sequence.generated().len() < tokens {
        let count = sequence.left();
        sequence.prepare(count, &mut cache).unwrap();
        let logits = model.forward(&[sequence.part(count)], &mut cache, &mut space);
        let token = likeliest(logits);
        sequence.advance(count);
        sequence.push(token);
    }
    sequence.generated().to_vec()
}

/// The responses to all prompts under a schedule: row by row, what happens to each sequence; when
/// it is over, all run to their ends.
pub(crate) fn scheduled(
    model: &Model,
    prompts: &[Vec<u32>],
    tokens: usize,
    schedule: &[Vec<Fate>],
) -> Vec<Vec<u32>> {
    let mut cache = Cache::new(model.config().kv_layout(), 40 * prompts.len() as u32);
    let mut space = Workspace::default();
    let mut sequences: Vec<Sequence> = prompts.iter().map(|p| Sequence::new(p)).collect();
    let mut rows = schedule.iter();
    loop {
        let row = rows.next();
        let mut counts = vec![0; sequences.len()];
        for (i, sequence) in sequences.iter_mut().enumerate() {
            if sequence.generated().len() >= tokens {
                continue;
            }
            let all = Fate::Run(usize::MAX);
            match row.map_or(all, |row| row[i % row.len()]) {
                Fate::Run(most) => {
                    sequence.swap_in(&mut cache).unwrap();
                    counts[i] = most.min(sequence.left());
                    sequence.prepare(counts[i], &mut cache).unwrap();
                }
                Fate::Pause => {}
                Fate::Swap => sequence.swap_out(&mut cache),
                Fate::Evict => sequence.evict(&mut cache),
            }
        }
        if counts.iter().all(|&count| count == 0) {
            match row {
                Some(_) => continue,
                None => break,
            }
        }
        let running = sequences
            .iter()
            .zip(&counts)
            .filter(|&(_, &count)| count > 0);
        let parts: Vec<Part<'_>> = running.map(|(s, &count)| s.part(count)).collect();
        let gives: Vec<bool> = parts.iter().map(|part| part.wants_logits).collect();
        let logits = model.forward(&parts, &mut cache, &mut space);
        let mut chosen = logits
            .chunks_exact(model.config().vocabulary)
            .map(likeliest);
        let mut gives = gives.into_iter();
        for (sequence, &count) in sequences.iter_mut().zip(&counts) {
            if count > 0 {
                sequence.advance(count);
                if gives.next().unwrap() {
                    sequence.push(chosen.next().unwrap());
                }
            }
        }
    }
    for sequence in &mut sequences {
        sequence.evict(&mut cache);
    }
    assert_eq!(cache.free_blocks(), 40 * prompts.len(), "no block is lost");
    sequences.iter().map(|s| s.generated().to_vec()).collect()
}

fn model() -> Model {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("toy.gguf");
    toy::write_gguf(
        &path,
        &toy::weights(3),
        candle_core::quantized::GgmlDType::Q4_1,
    );
    toy::load(&path, None)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn pauses_swaps_and_recomputes_change_nothing(
        lengths in prop::collection::vec(1usize..90, 1..6),
        schedule in prop::collection::vec(prop::collection::vec(fate(), 6), 0..60),
    ) {
        let model = model();
        let prompt = |i: usize, length: usize| -> Vec<u32> {
            (0..length).map(|t| ((t * (i + 3) + i) % 61) as u32).collect()
        };
        let prompts = lengths.iter().enumerate().map(|(i, &length)| prompt(i, length));
        let prompts: Vec<Vec<u32>> = prompts.collect();
        let together = scheduled(&model, &prompts, 24, &schedule);
        for (prompt, response) in prompts.iter().zip(together) {
            prop_assert_eq!(&read(&model, prompt, &response), &response);
            prop_assert_eq!(response, alone(&model, prompt, 24));
        }
    }
}
