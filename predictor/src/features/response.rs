//! Lexical features of a response so far, with those of its newest window apart.

use std::collections::HashSet;

use super::{PromptText, flag, indented, is_code, log_count, says, sentences, share};

/// Tokens of a window.
const WINDOW_TOKENS: usize = 50;

/// The features of a response so far, in order. `w_` is the newest window of 50 tokens.
pub const RESPONSE_NAMES: [&str; 44] = [
    "log_generated",
    "generated",
    "fences",
    "fence_open",
    "fence_closed",
    "since_fence",
    "items",
    "last_number",
    "largest_number",
    "items_left",
    "items_asked",
    "headings",
    "bold",
    "newlines",
    "w_newlines",
    "w_blank_lines",
    "ends_sentence",
    "ends_colon",
    "ends_fence",
    "ends_letter",
    "ends_line",
    "w_concludes",
    "concluded",
    "w_explains",
    "explained",
    "w_examples",
    "exemplified",
    "w_word_variety",
    "w_repeats",
    "w_line_chars",
    "w_indented",
    "w_code",
    "w_digits",
    "w_sentences",
    "w_non_ascii",
    "tail_concludes",
    "w_fence",
    "w_items",
    "since_blank_line",
    "began_with_fence",
    "w_upper",
    "paragraphs",
    "w_returns",
    "after_fence_share",
];

const CONCLUDES: [&str; 15] = [
    "in conclusion",
    "overall,",
    "in summary",
    "to summarize",
    "finally,",
    "conclusion",
    "hope this",
    "let me know",
    "in short",
    "by following",
    "remember",
    "ultimately",
    "good luck",
    "feel free",
    "these are just",
];
const EXPLAINS: [&str; 12] = [
    "explanation",
    "this function",
    "this code",
    "this script",
    "this solution",
    "in this",
    "here's how",
    "how it works",
    "the function",
    "note that",
    "note:",
    "please",
];
const EXAMPLES: [&str; 7] = [
    "example usage",
    "# example",
    "example:",
    "# test",
    "test the function",
    "usage",
    "print(",
];
/// How far before its end a response may have opened a code block to have begun with it.
const BEGINNING_BYTES: usize = 400;

/// A response so far with what has been found in it.
#[derive(Debug, Clone, PartialEq)]
pub struct ResponseText {
    features: [f32; RESPONSE_NAMES.len()],
}

/// Items of lists and numbers of lines.
#[derive(Default)]
struct Lists {
    items: usize,
    last: usize,
    largest: usize,
    headings: usize,
}

impl ResponseText {
    /// Looks a response over that has come to `generated_tokens`. The newest window is the last 50
    /// tokens' share of its characters.
    pub fn new(text: &str, generated_tokens: u32, prompt: &PromptText) -> Self {
        let window = newest_window(text, generated_tokens);
        let before = &text[..text.len() - window.len()];
        let (lower, lower_window) = (text.to_lowercase(), window.to_lowercase());
        let lists = lists(text);
        let fences = text.matches("```").count();
        let last_fence = text.rfind("```");
        let since_fence = last_fence.map_or(0, |at| text[at..].chars().count());
        let chars = text.chars().count();
        let window_chars = window.chars().count();
        let count = |is: fn(char) -> bool| window.chars().filter(|&c| is(c)).count();
        let end = text.trim_end();
        let since_blank = text.rfind("\n\n").map_or(text, |at| &text[at..]);
        let beginning = text.len().min(BEGINNING_BYTES);
        let beginning = &text[..text.floor_char_boundary(beginning)];
        let tail = &lower_window[lower_window.floor_char_boundary(lower_window.len() / 2)..];
        let features = [
            log_count(generated_tokens as usize),
            generated_tokens as f32 / 1000.0,
            log_count(fences),
            flag(!fences.is_multiple_of(2)),
            flag(fences >= 2),
            log_count(since_fence),
            log_count(lists.items),
            log_count(lists.last),
            log_count(lists.largest),
            items_left(&lists, prompt),
            flag(prompt.asked_items() > 0),
            log_count(lists.headings),
            log_count(text.matches("**").count()),
            log_count(text.matches('\n').count()),
            log_count(window.matches('\n').count()),
            log_count(window.matches("\n\n").count()),
            flag(end.ends_with(['.', '!', '?'])),
            flag(end.ends_with(':')),
            flag(end.ends_with("```")),
            flag(text.ends_with(char::is_alphabetic)),
            flag(text.ends_with('\n')),
            says(&lower_window, &CONCLUDES),
            says(&lower, &CONCLUDES),
            says(&lower_window, &EXPLAINS),
            says(&lower, &EXPLAINS),
            says(&lower_window, &EXAMPLES),
            says(&lower, &EXAMPLES),
            word_variety(&lower_window),
            repeats(before, &lower_window),
            log_count(window_chars / window.split('\n').count()),
            indented(window),
            share(count(is_code), window_chars),
            share(count(|c| c.is_ascii_digit()), window_chars),
            log_count(sentences(window)),
            share(count(|c| !c.is_ascii()), window_chars),
            says(tail, &CONCLUDES),
            flag(window.contains("```")),
            log_count(self::lists(window).items),
            log_count(since_blank.chars().count()),
            flag(beginning.contains("```")),
            share(count(char::is_uppercase), window_chars),
            log_count(text.matches("\n\n").count()),
            flag(window.contains("return ")),
            after_fence(fences, since_fence, chars),
        ];
        Self { features }
    }

    /// The values of [`RESPONSE_NAMES`].
    pub fn features(&self) -> &[f32; RESPONSE_NAMES.len()] {
        &self.features
    }
}

/// The end of a text that the last 50 of its tokens make up, if all have the same length.
pub(crate) fn newest_window(text: &str, generated_tokens: u32) -> &str {
    let tokens = (generated_tokens as usize).max(1);
    let before = tokens.saturating_sub(WINDOW_TOKENS);
    &text[text.floor_char_boundary(text.len() * before / tokens)..]
}

/// How many of the items that were asked for are still to come; 0 where nobody has counted.
fn items_left(lists: &Lists, prompt: &PromptText) -> f32 {
    let asked = prompt.asked_items();
    if asked == 0 || lists.largest == 0 {
        return 0.0;
    }
    (asked as f32 - lists.largest as f32).clamp(-5.0, 20.0)
}

/// Share of the response since its last code block was closed.
fn after_fence(fences: usize, since_fence: usize, chars: usize) -> f32 {
    let closed = fences > 0 && fences.is_multiple_of(2);
    if closed {
        share(since_fence, chars)
    } else {
        0.0
    }
}

fn lists(text: &str) -> Lists {
    let mut lists = Lists::default();
    for line in text.split('\n') {
        let body = line.trim_start_matches([' ', '\t']);
        let bullet = body.strip_prefix(['-', '*', '•']);
        if bullet.is_some_and(|rest| rest.starts_with([' ', '\t'])) {
            lists.items += 1;
        }
        if body.trim_start_matches('#').starts_with(' ') && body.starts_with('#') {
            lists.headings += 1;
        }
        if let Some((number, rest)) = line_number(line) {
            lists.last = number;
            lists.largest = lists.largest.max(number);
            lists.items += usize::from(rest.starts_with([' ', '\t']));
        }
    }
    lists
}

/// The number that a line begins with, as in `3. ` or `**2)`, and what follows it.
fn line_number(line: &str) -> Option<(usize, &str)> {
    let body = line.trim_start_matches([' ', '\t', '#', '*']);
    let digits = body.bytes().take_while(u8::is_ascii_digit).count();
    let rest = body[digits..].strip_prefix(['.', ')'])?;
    let number = (1..=3)
        .contains(&digits)
        .then(|| body[..digits].parse().ok());
    Some((number??, rest))
}

/// Share of different words.
fn word_variety(text: &str) -> f32 {
    let words = text.split_whitespace().count();
    let different: HashSet<&str> = text.split_whitespace().collect();
    share(different.len(), words)
}

/// Share of the window's different runs of three words that occurred before.
fn repeats(before: &str, lower_window: &str) -> f32 {
    let before = before.to_lowercase();
    let threes = |text: &str| -> HashSet<[String; 3]> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let own = |w: &[&str]| [w[0].to_owned(), w[1].to_owned(), w[2].to_owned()];
        words.windows(3).map(own).collect()
    };
    let (seen, now) = (threes(&before), threes(lower_window));
    share(now.intersection(&seen).count(), now.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str, tokens: u32, prompt: &str, name: &str) -> f32 {
        let prompt = PromptText::new(prompt, 10);
        let response = ResponseText::new(text, tokens, &prompt);
        let at = RESPONSE_NAMES.iter().position(|&other| other == name);
        response.features()[at.unwrap()]
    }

    #[test]
    fn a_list_is_counted_against_what_was_asked_for() {
        let text = "Sure:\n1. One\n2. Two\n3. Three\n- a bullet\n## A heading\n4.5 is a number";
        let of = |name| value(text, 40, "Give me 5 tips", name);
        assert_eq!(of("items_left"), 1.0, "4. begins the last line");
        assert!((of("items") - 5f32.ln()).abs() < 1e-6);
        assert!((of("headings") - 2f32.ln()).abs() < 1e-6);
        assert_eq!(of("items_asked"), 1.0);
    }

    #[test]
    fn an_open_fence_is_told_from_a_closed_one() {
        let open = "```python\nprint(1)\n";
        assert_eq!(value(open, 10, "", "fence_open"), 1.0);
        let closed = format!("{open}```\nThis code prints.");
        assert_eq!(value(&closed, 20, "", "fence_open"), 0.0);
        assert_eq!(value(&closed, 20, "", "fence_closed"), 1.0);
        assert!(value(&closed, 20, "", "after_fence_share") > 0.3);
    }

    #[test]
    fn the_newest_window_is_the_last_fifty_tokens() {
        let text = "a".repeat(300) + &"b".repeat(100);
        assert_eq!(newest_window(&text, 200), "b".repeat(100));
        assert_eq!(newest_window(&text, 30), text);
        assert_eq!(newest_window("", 0), "");
        assert_eq!(newest_window("ééé", 100).chars().count(), 2);
    }

    #[test]
    fn what_was_said_before_is_a_repetition() {
        let text = "one two three four ".repeat(50);
        assert!(value(&text, 200, "", "w_repeats") > 0.7);
        assert_eq!(value("one two three four", 4, "", "w_repeats"), 0.0);
    }
}
