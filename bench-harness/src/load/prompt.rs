//! Prompts for workloads that know lengths only: drawn by seed, and no two with a common beginning,
//! so that a server's prefix cache gains nothing.

use std::ops::RangeInclusive;

use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Token ids that ordinary words have in all common vocabularies: above the special tokens and
/// bytes that stand first, below the 32,000 of the smallest.
pub const TOKEN_IDS: RangeInclusive<u32> = 1_000..=29_999;

/// Words that are one token each in common vocabularies, with the space before them.
const WORDS: [&str; 64] = [
    "time",
    "year",
    "people",
    "way",
    "day",
    "man",
    "thing",
    "woman",
    "life",
    "child",
    "world",
    "school",
    "state",
    "family",
    "student",
    "group",
    "country",
    "problem",
    "hand",
    "part",
    "place",
    "case",
    "week",
    "company",
    "system",
    "program",
    "question",
    "work",
    "government",
    "number",
    "night",
    "point",
    "home",
    "water",
    "room",
    "mother",
    "area",
    "money",
    "story",
    "fact",
    "month",
    "lot",
    "right",
    "study",
    "book",
    "eye",
    "job",
    "word",
    "business",
    "issue",
    "side",
    "kind",
    "head",
    "house",
    "service",
    "friend",
    "father",
    "power",
    "hour",
    "game",
    "line",
    "end",
    "member",
    "law",
];

/// What makes the prompts of one run unlike those of all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Draw {
    /// Seed of the stream.
    pub seed: u64,
    /// Number of the run: the same request has another prompt in each, of the same length.
    pub run: u64,
}

impl Draw {
    /// The generator of one request.
    fn dice(self, id: u64) -> ChaCha8Rng {
        let mut key = [0; 32];
        let parts = [self.seed, self.run, id];
        for (place, part) in key.chunks_exact_mut(8).zip(parts) {
            place.copy_from_slice(&part.to_le_bytes());
        }
        ChaCha8Rng::from_seed(key)
    }

    /// So many token ids out of a range.
    pub fn token_ids(self, id: u64, count: u32, range: &RangeInclusive<u32>) -> Vec<u32> {
        let mut dice = self.dice(id);
        (0..count)
            .map(|_| dice.random_range(range.clone()))
            .collect()
    }

    /// So many words.
    pub fn words(self, id: u64, count: u32) -> String {
        let mut dice = self.dice(id);
        let words = (0..count).filter_map(|_| WORDS.choose(&mut dice).copied());
        words.collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAW: Draw = Draw { seed: 3, run: 1 };

    #[test]
    fn ids_are_many_enough_inside_the_range_and_repeatable() {
        let ids = DRAW.token_ids(7, 500, &(10..=12));
        assert_eq!(ids.len(), 500);
        assert!(ids.iter().all(|id| (10..=12).contains(id)));
        assert_eq!(ids, DRAW.token_ids(7, 500, &(10..=12)));
    }

    #[test]
    fn no_two_prompts_begin_alike() {
        let other = [
            DRAW.token_ids(8, 8, &TOKEN_IDS),
            Draw { run: 2, ..DRAW }.token_ids(7, 8, &TOKEN_IDS),
            Draw { seed: 4, ..DRAW }.token_ids(7, 8, &TOKEN_IDS),
        ];
        let ids = DRAW.token_ids(7, 8, &TOKEN_IDS);
        assert!(other.iter().all(|other| other[..2] != ids[..2]));
        assert_ne!(DRAW.words(1, 6), DRAW.words(2, 6));
    }

    #[test]
    fn words_are_counted() {
        assert_eq!(DRAW.words(1, 40).split(' ').count(), 40);
    }
}
