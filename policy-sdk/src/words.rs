//! State as bytes: whole words, least significant byte first.

const WORD: usize = size_of::<u64>();

/// Words as the bytes that a policy hands over.
pub fn to_bytes(words: impl IntoIterator<Item = u64>) -> Vec<u8> {
    words.into_iter().flat_map(u64::to_le_bytes).collect()
}

/// The words again.
///
/// # Errors
///
/// The bytes are not whole words.
pub fn from_bytes(bytes: &[u8]) -> Result<Vec<u64>, String> {
    let (words, rest) = bytes.as_chunks::<WORD>();
    if rest.is_empty() {
        Ok(words.iter().map(|&word| u64::from_le_bytes(word)).collect())
    } else {
        let given = bytes.len();
        Err(format!(
            "{given} bytes of state are not whole words; it is another policy's"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_back_and_pieces_of_one_are_refused() {
        let words = [0, 1, u64::MAX];
        assert_eq!(from_bytes(&to_bytes(words)).unwrap(), words);
        assert!(from_bytes(&[1, 2, 3]).unwrap_err().contains("3 bytes"));
    }
}
