//! Tokenizers as GGUF files carry them.

use std::path::Path;

use candle_core::quantized::gguf_file::Content;
use candle_core::quantized::tokenizer::TokenizerFromGguf;
use tokenizers::decoders::byte_level::ByteLevel as ByteDecoder;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::{PreTokenizerWrapper, Tokenizer};

use super::{format_error, gguf};
use crate::error::LoadError;
use crate::vocabulary::Vocabulary;

/// Tokens that end a response in the chat formats of the families, whatever a file calls its end.
const ENDS: &[&str] = &[
    "<|im_end|>",
    "<|eot_id|>",
    "<|end_of_text|>",
    "<|endoftext|>",
];

/// Kinds of tokenizers whose models begin with a token where a file does not say whether, as
/// llama.cpp has it.
const BEGIN: &[&str] = &["llama3", "llama-v3", "llama-bpe", "falcon3"];

/// The tokenizer in a file, or `tokenizer.json` beside it.
pub(super) fn from_gguf(content: &Content, path: &Path) -> Result<Vocabulary, LoadError> {
    let beside = path.with_file_name("tokenizer.json");
    let mut tokenizer = if beside.is_file() {
        Tokenizer::from_file(&beside).map_err(|e| format_error(&beside, e.to_string()))?
    } else {
        Tokenizer::from_gguf(content).map_err(|e| {
            let hint = "put the model's tokenizer.json beside the file";
            format_error(path, format!("its tokenizer cannot be used: {e}; {hint}"))
        })?
    };
    let kind = gguf::string(content, "tokenizer.ggml.pre").unwrap_or_default();
    if kind == "smollm" && !beside.is_file() {
        // candle does not know this kind and takes GPT-2's, which puts a space in front and keeps
        // digits together: most texts come out different from what the model was trained on.
        let bytes = ByteLevel::new(false, true, true);
        let parts: Vec<PreTokenizerWrapper> = vec![
            PreTokenizerWrapper::Digits(Digits::new(true)),
            PreTokenizerWrapper::ByteLevel(bytes),
        ];
        tokenizer.with_pre_tokenizer(Some(Sequence::new(parts)));
        tokenizer.with_decoder(Some(ByteDecoder::default()));
    }
    let own = gguf::number(content, "tokenizer.ggml.eos_token_id").ok();
    let ends = own.and_then(|id| u32::try_from(id).ok());
    let begins = content.metadata.get("tokenizer.ggml.add_bos_token");
    let begins = begins.and_then(|value| value.to_bool().ok());
    let begins = begins.unwrap_or_else(|| {
        let model = gguf::string(content, "tokenizer.ggml.model").unwrap_or_default();
        model == "llama" || BEGIN.contains(&&*kind)
    });
    let bos = gguf::number(content, "tokenizer.ggml.bos_token_id").ok();
    let bos = bos.filter(|_| begins);
    Ok(with_ends(tokenizer, ends).beginning_with(bos.and_then(|id| u32::try_from(id).ok())))
}

/// A vocabulary whose ends are the given one and those that everybody uses.
pub(super) fn with_ends(tokenizer: Tokenizer, own: impl IntoIterator<Item = u32>) -> Vocabulary {
    let mut ends: Vec<u32> = own.into_iter().collect();
    ends.extend(ENDS.iter().filter_map(|name| tokenizer.token_to_id(name)));
    ends.sort_unstable();
    ends.dedup();
    Vocabulary::new(tokenizer, ends)
}
