//! Answers by content: the same texts to the same model need not be read again.

use std::num::NonZeroUsize;

use lru::LruCache;
use sha2::{Digest, Sha256};

use super::question::Question;
use crate::predict::Prediction;

/// A hash of all that an answer depends on. It is a strong one, since two texts that shared a key
/// would silently share their answer, and users choose the texts.
pub(super) type Key = [u8; 32];

/// The most recently used answers of one model.
pub(super) struct Cache {
    model: [u8; 32],
    answers: Option<LruCache<Key, Prediction>>,
}

impl Cache {
    /// An empty cache for the answers of the model that calls itself `digest`.
    pub(super) fn new(digest: &str, len: usize) -> Self {
        Self {
            model: Sha256::digest(digest.as_bytes()).into(),
            answers: NonZeroUsize::new(len).map(LruCache::new),
        }
    }

    /// Whether anything is remembered at all.
    pub(super) fn is_on(&self) -> bool {
        self.answers.is_some()
    }

    /// The key of a question: the model, the texts, and the numbers, since a model may use them.
    /// The job is no part of it.
    pub(super) fn key(&self, question: &Question) -> Key {
        let mut hash = Sha256::new();
        hash.update(self.model);
        // With its length before it, the prompt cannot run into the response.
        hash.update((question.prompt.len() as u64).to_le_bytes());
        hash.update(question.prompt.as_bytes());
        hash.update(question.generated.as_bytes());
        let numbers = [
            question.prompt_tokens,
            question.generated_tokens,
            question.max_new_tokens,
            question.step,
        ];
        for number in numbers {
            hash.update(number.to_le_bytes());
        }
        hash.finalize().into()
    }

    /// The answer, if it is remembered.
    pub(super) fn get(&mut self, key: &Key) -> Option<Prediction> {
        self.answers.as_mut()?.get(key).copied()
    }

    /// Remembers an answer, unless it says nothing.
    pub(super) fn put(&mut self, key: Key, prediction: Prediction) {
        if let Some(answers) = &mut self.answers
            && !prediction.remaining_tokens.is_nan()
        {
            answers.put(key, prediction);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::predict::Source;

    fn question(prompt: &str, generated: &str) -> Question {
        Question {
            job: 1,
            prompt: prompt.into(),
            generated: generated.into(),
            prompt_tokens: 1,
            generated_tokens: 0,
            max_new_tokens: 10,
            step: 0,
        }
    }

    #[test]
    fn a_key_is_the_content_and_the_model() {
        let cache = Cache::new("m", 1);
        let key = |q: &Question| cache.key(q);
        let one = question("ab", "c");
        let other_job = Question {
            job: 9,
            ..one.clone()
        };
        assert_eq!(key(&one), key(&other_job));
        assert_ne!(key(&one), key(&question("a", "bc")));
        assert_ne!(key(&one), Cache::new("n", 1).key(&one));
        let later = Question {
            step: 1,
            ..one.clone()
        };
        assert_ne!(key(&one), key(&later));
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let mut cache = Cache::new("m", 2);
        let keys = ["a", "b", "c"].map(|p| cache.key(&question(p, "")));
        let said = |n| Prediction::gaussian(n, 1.0, Source::Trained);
        cache.put(keys[0], said(1.0));
        cache.put(keys[1], said(2.0));
        assert_eq!(cache.get(&keys[0]), Some(said(1.0)));
        cache.put(keys[2], said(3.0));
        assert_eq!(cache.get(&keys[1]), None);
        assert_eq!(cache.get(&keys[0]), Some(said(1.0)));
        cache.put(keys[1], Prediction::UNKNOWN);
        assert_eq!(cache.get(&keys[1]), None, "nothing known is not remembered");
        let mut none = Cache::new("m", 0);
        none.put(keys[0], said(1.0));
        assert!(!none.is_on() && none.get(&keys[0]).is_none());
    }
}
