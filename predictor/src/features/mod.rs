//! What a text says about its own length without being read by a model: counts of words, code,
//! lists and endings, for microseconds each.
//!
//! The idea is Clairvoyant's (arXiv 2606.07248): a few lexical features carry most of what a prompt
//! alone can tell. Those of the response so far matter more: a list that has come to its fifth item
//! of five, a code block that is closed, a sentence that says "in conclusion".

mod prompt;
mod response;

pub use prompt::{PROMPT_NAMES, PromptText};
pub use response::{RESPONSE_NAMES, ResponseText};

/// `ln(1 + n)`: counts differ by their order of magnitude.
pub(crate) fn log_count(count: usize) -> f32 {
    libm::log1pf(count as f32)
}

/// 1 if any of the words occurs.
pub(crate) fn says(text: &str, words: &[&str]) -> f32 {
    f32::from(u8::from(words.iter().any(|word| text.contains(word))))
}

pub(crate) fn flag(yes: bool) -> f32 {
    f32::from(u8::from(yes))
}

/// A part of a whole; 0 of nothing.
pub(crate) fn share(part: usize, whole: usize) -> f32 {
    part as f32 / whole.max(1) as f32
}

/// Whether a character is one that code has more of than prose.
pub(crate) fn is_code(character: char) -> bool {
    "{}()[];=_<>".contains(character)
}

/// Sentences, as full stops and their kin before a space or the end.
pub(crate) fn sentences(text: &str) -> usize {
    let mut after = text.chars().skip(1).map(char::is_whitespace);
    text.chars()
        .filter(|&character| {
            let ends = after.next().unwrap_or(true);
            matches!(character, '.' | '!' | '?') && ends
        })
        .count()
}

/// Share of lines that begin with a space or a tab.
pub(crate) fn indented(text: &str) -> f32 {
    let lines = text.split('\n').count();
    let indented = text
        .split('\n')
        .filter(|line| line.starts_with([' ', '\t']));
    share(indented.count(), lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_end_before_a_space_or_the_end() {
        assert_eq!(sentences("One. Two! 3.14 is pi? Yes."), 4);
        assert_eq!(sentences(""), 0);
    }

    #[test]
    fn nothing_breaks_on_odd_texts() {
        for text in [
            "",
            " ",
            "\n\n\n",
            "```",
            "é",
            "\u{0}",
            "1.",
            "- ",
            "\u{1F600}\u{1F600}",
        ] {
            let prompt = PromptText::new(text, 3);
            assert!(prompt.features().iter().all(|value| value.is_finite()));
            let response = ResponseText::new(text, 50, &prompt);
            assert!(response.features().iter().all(|value| value.is_finite()));
        }
    }
}
