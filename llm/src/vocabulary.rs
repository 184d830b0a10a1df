//! Text to tokens and back.

use std::sync::Arc;

use tokenizers::decoders::byte_level::ByteLevel as ByteDecoder;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{PreTokenizerWrapper, Tokenizer};

/// Why a vocabulary could not be made or used.
#[derive(Debug, thiserror::Error)]
pub enum VocabularyError {
    /// The tokenizer's description is not one.
    #[error("the tokenizer cannot be read: {0}")]
    Load(String),
    /// A text could not be encoded.
    #[error("the text cannot be encoded: {0}")]
    Encode(String),
    /// Tokens could not be decoded.
    #[error("the tokens cannot be decoded: {0}")]
    Decode(String),
}

/// A model's tokens. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Vocabulary {
    tokenizer: Arc<Tokenizer>,
    /// The same, but names of special tokens are plain text to it.
    plain: Arc<Tokenizer>,
    /// What the model wants in front of every prompt.
    bos: Option<u32>,
    eos: Arc<[u32]>,
}

impl Vocabulary {
    /// A tokenizer, and the tokens that end a response.
    pub fn new(tokenizer: Tokenizer, eos: impl Into<Arc<[u32]>>) -> Self {
        let mut plain = tokenizer.clone();
        plain.set_encode_special_tokens(true);
        Self {
            tokenizer: Arc::new(tokenizer),
            plain: Arc::new(plain),
            bos: None,
            eos: eos.into(),
        }
    }

    /// The same for a model that wants this token, if any, in front of every prompt.
    pub fn beginning_with(self, bos: Option<u32>) -> Self {
        Self { bos, ..self }
    }

    /// A token for each byte: what a modelled worker speaks, which has no model.
    ///
    /// # Errors
    ///
    /// [`VocabularyError::Load`], which would be a mistake of ours.
    pub fn bytes() -> Result<Self, VocabularyError> {
        let mut alphabet: Vec<char> = ByteLevel::alphabet().into_iter().collect();
        alphabet.sort_unstable();
        let tokens = alphabet.into_iter().map(String::from).zip(0..);
        let bpe = BPE::builder()
            .vocab_and_merges(tokens.collect::<Vocab>(), Vec::new())
            // A whole text is one word here, and one that was seen will hardly be seen again.
            .cache_capacity(0)
            .build()
            .map_err(|e| VocabularyError::Load(e.to_string()))?;
        let mut tokenizer = Tokenizer::new(bpe);
        let bytes = ByteLevel::new(false, false, false);
        tokenizer.with_pre_tokenizer(Some(PreTokenizerWrapper::ByteLevel(bytes)));
        tokenizer.with_decoder(Some(ByteDecoder::default()));
        Ok(Self::new(tokenizer, []))
    }

    /// The tokens of a text. Names of special tokens in it count as these if `special`.
    ///
    /// # Errors
    ///
    /// [`VocabularyError::Encode`].
    pub fn encode(&self, text: &str, special: bool) -> Result<Vec<u32>, VocabularyError> {
        let tokenizer = if special {
            &self.tokenizer
        } else {
            &self.plain
        };
        let encoded = tokenizer.encode_fast(text, false);
        let encoded = encoded.map_err(|e| VocabularyError::Encode(e.to_string()))?;
        Ok(encoded.get_ids().to_vec())
    }

    /// The tokens of a whole prompt. Names of special tokens in it count as these, and a model that
    /// wants a token in front gets it once: templates of conversations often write it themselves.
    ///
    /// # Errors
    ///
    /// [`VocabularyError::Encode`].
    pub fn prompt(&self, text: &str) -> Result<Vec<u32>, VocabularyError> {
        let mut tokens = self.encode(text, true)?;
        if let Some(bos) = self.bos.filter(|bos| tokens.first() != Some(bos)) {
            tokens.insert(0, bos);
        }
        Ok(tokens)
    }

    /// The text of tokens, special ones left out.
    ///
    /// # Errors
    ///
    /// [`VocabularyError::Decode`].
    pub fn decode(&self, tokens: &[u32]) -> Result<String, VocabularyError> {
        let text = self.tokenizer.decode(tokens, true);
        text.map_err(|e| VocabularyError::Decode(e.to_string()))
    }

    /// How a token is written in the vocabulary, if there is such a token.
    pub fn token(&self, id: u32) -> Option<String> {
        self.tokenizer.id_to_token(id)
    }

    /// The number of a special or ordinary token that is written so.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.tokenizer.token_to_id(token)
    }

    /// Whether a token ends the response.
    pub fn ends(&self, token: u32) -> bool {
        self.eos.contains(&token)
    }

    /// Number of tokens.
    pub fn size(&self) -> usize {
        self.tokenizer.get_vocab_size(true)
    }
}

/// Turns tokens into text one at a time, and keeps back what is only half a character.
#[derive(Debug, Clone)]
pub struct Decoder {
    vocabulary: Vocabulary,
    tokens: Vec<u32>,
    /// Tokens before this one have been given out.
    given: usize,
    /// Where the text of the last one that was given out begins to be decoded from.
    from: usize,
}

/// Tokens that are decoded again for the sake of those that follow.
const CONTEXT: usize = 6;

impl Decoder {
    /// A decoder at the start of a response.
    pub fn new(vocabulary: &Vocabulary) -> Self {
        Self {
            vocabulary: vocabulary.clone(),
            tokens: Vec::new(),
            given: 0,
            from: 0,
        }
    }

    /// The text that a further token completes, maybe none.
    ///
    /// # Errors
    ///
    /// [`VocabularyError::Decode`].
    pub fn push(&mut self, token: u32) -> Result<String, VocabularyError> {
        self.tokens.push(token);
        let text = self.vocabulary.decode(&self.tokens[self.from..])?;
        // A character in pieces is decoded as the replacement character.
        if text.ends_with(char::REPLACEMENT_CHARACTER) {
            return Ok(String::new());
        }
        self.take(&text)
    }

    /// What is left at the end, as far as it can be read.
    ///
    /// # Errors
    ///
    /// [`VocabularyError::Decode`].
    pub fn finish(&mut self) -> Result<String, VocabularyError> {
        let text = self.vocabulary.decode(&self.tokens[self.from..])?;
        self.take(&text)
    }

    fn take(&mut self, text: &str) -> Result<String, VocabularyError> {
        let before = self
            .vocabulary
            .decode(&self.tokens[self.from..self.given])?;
        let new = text.get(before.len()..).unwrap_or_default().to_owned();
        self.given = self.tokens.len();
        self.from = self.given.saturating_sub(CONTEXT).max(self.from);
        Ok(new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_round_trip_and_characters_come_whole() {
        let vocabulary = Vocabulary::bytes().unwrap();
        let text = "Grüße,  日本\n\t🦀!";
        let tokens = vocabulary.encode(text, false).unwrap();
        assert_eq!(tokens.len(), text.len());
        assert_eq!(vocabulary.decode(&tokens).unwrap(), text);
        let mut decoder = Decoder::new(&vocabulary);
        let mut streamed = String::new();
        for &token in &tokens {
            let piece = decoder.push(token).unwrap();
            assert!(!piece.contains(char::REPLACEMENT_CHARACTER));
            streamed += &piece;
        }
        assert_eq!(streamed, text);
        assert_eq!(decoder.finish().unwrap(), "");
    }

    #[test]
    fn a_prompt_begins_once() {
        let vocabulary = Vocabulary::bytes().unwrap();
        let hi = vocabulary.encode("hi", true).unwrap();
        assert_eq!(vocabulary.prompt("hi").unwrap(), hi);
        let begins = vocabulary.clone().beginning_with(vocabulary.id("!"));
        let with = vocabulary.encode("!hi", true).unwrap();
        assert_eq!(begins.prompt("hi").unwrap(), with);
        assert_eq!(begins.prompt("!hi").unwrap(), with);
        assert_eq!(begins.prompt("").unwrap(), with[..1]);
        assert_eq!(begins.encode("hi", true).unwrap(), hi);
    }

    #[test]
    fn half_a_character_at_the_end_is_said_to_be_one() {
        let vocabulary = Vocabulary::bytes().unwrap();
        let tokens = vocabulary.encode("é", false).unwrap();
        let mut decoder = Decoder::new(&vocabulary);
        assert_eq!(decoder.push(tokens[0]).unwrap(), "");
        assert_eq!(decoder.finish().unwrap(), "\u{fffd}");
    }
}
