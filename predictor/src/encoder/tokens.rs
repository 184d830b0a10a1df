//! Texts to tokens, cut to length without reading more of a long text than its tokens need.

use std::path::Path;

use tokenizers::Tokenizer;

use super::{EncoderError, folder};

/// Which part of a text is kept when it has too many tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Keep {
    /// The beginning; the end is dropped. What sentence-transformers does, and so what published
    /// figures of these models are about. A prompt says what it wants at its beginning.
    #[default]
    Head,
    /// The end; the beginning is dropped. For texts whose last words tell most, such as a response
    /// so far, behind its prompt.
    Tail,
    /// Half of the tokens from each end; the middle is dropped. For a question around a long
    /// document, or a prompt with its response so far: both ends tell.
    HeadAndTail,
}

/// Bytes of text that are read for each wanted token at first, about four times what English needs.
const BYTES_PER_TOKEN: usize = 16;
/// Bytes that are read at most for each wanted token: a text of which so much holds so few tokens
/// is blank, and is encoded from what was read.
const BYTES_PER_TOKEN_MAX: usize = 256;

/// A tokenizer that puts one token before a text and one after it.
pub(super) struct Tokens {
    tokenizer: Tokenizer,
    first: u32,
    last: u32,
    max_tokens: usize,
    keep: Keep,
}

impl Tokens {
    pub(super) fn read(
        path: &Path,
        vocab_size: usize,
        max_tokens: usize,
        keep: Keep,
    ) -> Result<Self, EncoderError> {
        let fail = |reason: String| EncoderError::Tokenizer {
            path: path.to_owned(),
            reason,
        };
        let bytes = folder::bytes(path)?;
        let mut tokenizer = Tokenizer::from_bytes(bytes).map_err(|e| fail(e.to_string()))?;
        // The file may pad to a fixed length and cut at it; both are done here instead.
        tokenizer.with_padding(None);
        tokenizer
            .with_truncation(None)
            .map_err(|e| fail(e.to_string()))?;
        let highest = tokenizer.get_vocab(true).into_values().max().unwrap_or(0);
        if highest as usize >= vocab_size {
            return Err(EncoderError::Vocabulary {
                id: highest,
                vocab_size,
            });
        }
        let empty = tokenizer
            .encode_fast("", true)
            .map_err(|e| fail(e.to_string()))?;
        let &[first, last] = empty.get_ids() else {
            let added = empty.get_ids().len();
            return Err(fail(format!("it puts {added} tokens around a text, not 2")));
        };
        Ok(Self {
            tokenizer,
            first,
            last,
            max_tokens,
            keep,
        })
    }

    pub(super) fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    /// The tokens of a text, those around it with it, at most `max_tokens`.
    pub(super) fn of(&self, text: &str) -> Vec<u32> {
        let room = self.max_tokens - 2;
        let mut ids = vec![self.first];
        ids.extend(self.cut(text, room));
        ids.push(self.last);
        ids
    }

    /// At most `room` tokens of the text.
    fn cut(&self, text: &str, room: usize) -> Vec<u32> {
        let (head_room, tail_room) = match self.keep {
            Keep::Head => (room, 0),
            Keep::Tail => (0, room),
            Keep::HeadAndTail => (room.div_ceil(2), room / 2),
        };
        let mut per_token = BYTES_PER_TOKEN;
        while per_token.saturating_mul(room) < text.len() {
            let head = self.plain(head_of(text, per_token * head_room));
            let tail = self.plain(tail_of(text, per_token * tail_room));
            let enough = head.len() >= head_room && tail.len() >= tail_room;
            if enough || per_token >= BYTES_PER_TOKEN_MAX {
                return ends(&head, head_room, &tail, tail_room);
            }
            per_token *= 2;
        }
        let all = self.plain(text);
        if all.len() <= room {
            return all;
        }
        ends(&all, head_room, &all, tail_room)
    }

    /// The tokens of a piece of text alone. A text that the tokenizer refuses, which those of BERT
    /// never do, has none.
    fn plain(&self, text: &str) -> Vec<u32> {
        if text.is_empty() {
            return Vec::new();
        }
        let encoding = self.tokenizer.encode_fast(text, false);
        encoding.map_or_else(|_| Vec::new(), |encoding| encoding.get_ids().to_vec())
    }
}

/// The first tokens of one list and the last of another.
fn ends(head: &[u32], head_room: usize, tail: &[u32], tail_room: usize) -> Vec<u32> {
    let mut ids = head[..head_room.min(head.len())].to_vec();
    ids.extend(&tail[tail.len().saturating_sub(tail_room)..]);
    ids
}

/// How far from the cut a blank is looked for: words longer than this are one unknown token.
const WORD_BYTES: usize = 512;

/// About so many bytes of the beginning, cut between words where there is a blank near.
fn head_of(text: &str, bytes: usize) -> &str {
    let cut = text.floor_char_boundary(bytes);
    let near = text.floor_char_boundary(cut.saturating_sub(WORD_BYTES));
    match text[near..cut].rfind(char::is_whitespace) {
        Some(blank) => &text[..near + blank],
        None => &text[..cut],
    }
}

/// About so many bytes of the end, cut between words where there is a blank near.
fn tail_of(text: &str, bytes: usize) -> &str {
    let cut = text.ceil_char_boundary(text.len().saturating_sub(bytes));
    let near = text.ceil_char_boundary((cut + WORD_BYTES).min(text.len()));
    match text[cut..near].find(char::is_whitespace) {
        Some(blank) => &text[cut + blank..],
        None => &text[cut..],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_end_between_words() {
        assert_eq!(head_of("one two three", 9), "one two");
        assert_eq!(tail_of("one two three", 7), " three");
        assert_eq!(head_of("one two", 100), "one");
        assert_eq!(head_of(&"ä".repeat(2000), 1001), "ä".repeat(500));
        assert_eq!(tail_of(&"ä".repeat(2000), 1001), "ä".repeat(500));
        assert_eq!((head_of("word", 0), tail_of("word", 0)), ("", ""));
    }

    #[test]
    fn ends_are_counted_from_each_side() {
        let ids = [1, 2, 3, 4, 5];
        assert_eq!(ends(&ids, 2, &ids, 1), [1, 2, 5]);
        assert_eq!(ends(&ids, 0, &ids, 2), [4, 5]);
    }
}
