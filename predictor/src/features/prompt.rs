//! Lexical features of a prompt.

use super::{flag, indented, is_code, log_count, says, sentences, share};

/// The features of a prompt, in order.
pub const PROMPT_NAMES: [&str; 36] = [
    "prompt_tokens",
    "chars",
    "words",
    "newlines",
    "question_marks",
    "digits",
    "word_length",
    "fence",
    "code_share",
    "def",
    "import",
    "class",
    "asks_list",
    "asks_long",
    "asks_explanation",
    "asks_brief",
    "steps",
    "first_is_question_word",
    "first_is_imperative",
    "asks_choice",
    "largest_number",
    "non_ascii_share",
    "upper_share",
    "ends_with_question",
    "assert",
    "pandas",
    "asks_code",
    "input_output",
    "table",
    "asked_items",
    "asks_story",
    "counts_words",
    "role_play",
    "sentences",
    "translate",
    "indented_share",
];

/// Of those, the ones that are sizes; they come first.
const SIZES: usize = 11;

const QUESTION_WORDS: [&str; 12] = [
    "what", "who", "when", "where", "which", "why", "how", "is", "are", "can", "do", "does",
];
const IMPERATIVES: [&str; 34] = [
    "write",
    "list",
    "describe",
    "explain",
    "give",
    "create",
    "generate",
    "design",
    "name",
    "find",
    "identify",
    "classify",
    "convert",
    "rewrite",
    "suggest",
    "make",
    "construct",
    "compose",
    "edit",
    "calculate",
    "provide",
    "summarize",
    "develop",
    "tell",
    "compare",
    "translate",
    "implement",
    "build",
    "come",
    "propose",
    "analyze",
    "discuss",
    "outline",
    "complete",
];
const NUMBER_WORDS: [&str; 9] = [
    "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
];
/// Items that somebody may ask for; a larger number means something else.
const ASKED_ITEMS_MAX: usize = 50;

/// A prompt with what has been found in it.
#[derive(Debug, Clone, PartialEq)]
pub struct PromptText {
    features: [f32; PROMPT_NAMES.len()],
    asked_items: usize,
}

impl PromptText {
    /// Looks a prompt over.
    pub fn new(prompt: &str, prompt_tokens: u32) -> Self {
        let lower = prompt.to_lowercase();
        let asked_items = asked_items(&lower);
        let mut features = [0.0; PROMPT_NAMES.len()];
        let values = sizes(prompt, &lower, prompt_tokens)
            .into_iter()
            .chain(wishes(prompt, &lower, asked_items));
        for (feature, value) in features.iter_mut().zip(values) {
            *feature = value;
        }
        Self {
            features,
            asked_items,
        }
    }

    /// The values of [`PROMPT_NAMES`].
    pub fn features(&self) -> &[f32; PROMPT_NAMES.len()] {
        &self.features
    }

    /// How many items the prompt seems to ask for, 0 if it does not say.
    pub fn asked_items(&self) -> usize {
        self.asked_items
    }
}

/// How large the prompt is and what it is made of.
fn sizes(prompt: &str, lower: &str, prompt_tokens: u32) -> [f32; SIZES] {
    let chars = prompt.chars().count();
    let words = lower.split_whitespace().count();
    let letters: usize = lower
        .split_whitespace()
        .map(|word| word.chars().count())
        .sum();
    let count = |is: fn(char) -> bool| prompt.chars().filter(|&c| is(c)).count();
    [
        log_count(prompt_tokens as usize),
        log_count(chars),
        log_count(words),
        log_count(prompt.matches('\n').count()),
        log_count(prompt.matches('?').count()),
        log_count(count(|c| c.is_ascii_digit())),
        letters as f32 / words.max(1) as f32,
        flag(prompt.contains("```")),
        share(count(is_code), chars),
        flag(prompt.contains("def ")),
        flag(prompt.contains("import ")),
    ]
}

/// What the prompt seems to ask for.
fn wishes(prompt: &str, lower: &str, asked_items: usize) -> [f32; PROMPT_NAMES.len() - SIZES] {
    let chars = prompt.chars().count();
    let count = |is: fn(char) -> bool| prompt.chars().filter(|&c| is(c)).count();
    let first = first_word(lower);
    let in_and_out = lower.matches("input").count() + lower.matches("output").count();
    let says = |words: &[&str]| says(lower, words);
    [
        says(&["class "]),
        says(&[
            " list", "list ", "bullet", "ways", "steps", "reasons", "examples", "ideas", "tips",
        ]),
        says(&[
            "essay",
            "article",
            "blog",
            "report",
            "detail",
            "comprehensive",
            "paragraph",
        ]),
        says(&[
            "explain", "describe", "discuss", "compare", "analyze", "how to", "how do",
        ]),
        says(&[
            "summar",
            "brief",
            "short",
            "concise",
            "one sentence",
            "one word",
            "single",
        ]),
        says(&["step"]),
        flag(QUESTION_WORDS.contains(&first)),
        flag(IMPERATIVES.contains(&first)),
        says(&[
            "classify",
            "which of",
            "true or false",
            "identify",
            "choose",
            "correct",
            "yes or no",
        ]),
        log_count(largest_number(prompt)),
        share(count(|c| !c.is_ascii()), chars),
        share(count(char::is_uppercase), chars),
        flag(prompt.trim_end().ends_with('?')),
        says(&["assert", "test"]),
        says(&[
            "pandas",
            "numpy",
            "dataframe",
            "tensorflow",
            "scipy",
            "sklearn",
            "matplotlib",
        ]),
        says(&["code", "function", "program", "python", "script", "sql"]),
        log_count(in_and_out),
        says(&["table", "csv", "json", "html"]),
        log_count(asked_items),
        says(&[
            "story", "poem", "song", "letter", "email", "speech", "script", "dialog",
        ]),
        says(&["words", "sentences", "paragraphs"]),
        says(&["you are", "act as", "roleplay"]),
        log_count(sentences(prompt)),
        says(&["translate", "rewrite", "convert", "rephrase", "paraphrase"]),
        indented(prompt),
    ]
}

/// The first word without the marks around it.
fn first_word(lower: &str) -> &str {
    let word = lower.split_whitespace().next().unwrap_or("");
    word.trim_matches(|c: char| ".,:!?\"".contains(c))
}

/// The first number between 2 and 50, in digits or as a word.
fn asked_items(lower: &str) -> usize {
    let words = lower.split(|c: char| !c.is_ascii_alphanumeric());
    words
        .filter_map(|word| match word.parse::<usize>() {
            Ok(number) => Some(number),
            Err(_) => Some(NUMBER_WORDS.iter().position(|&name| name == word)? + 2),
        })
        .find(|number| (2..=ASKED_ITEMS_MAX).contains(number))
        .unwrap_or(0)
}

/// The largest number of up to six digits.
fn largest_number(text: &str) -> usize {
    let numbers = text.split(|c: char| !c.is_ascii_digit());
    let short = numbers.filter(|digits| (1..=6).contains(&digits.len()));
    short
        .filter_map(|digits| digits.parse().ok())
        .max()
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(prompt: &PromptText, name: &str) -> f32 {
        let at = PROMPT_NAMES
            .iter()
            .position(|&other| other == name)
            .unwrap();
        prompt.features()[at]
    }

    #[test]
    fn a_prompt_says_what_it_asks_for() {
        let prompt = PromptText::new("List five reasons why 1984 is still read.", 11);
        assert_eq!(prompt.asked_items(), 5);
        assert_eq!(value(&prompt, "asks_list"), 1.0);
        assert_eq!(value(&prompt, "first_is_imperative"), 1.0);
        assert_eq!(value(&prompt, "ends_with_question"), 0.0);
        assert!((value(&prompt, "largest_number") - 1985f32.ln()).abs() < 1e-5);
        assert!((value(&prompt, "prompt_tokens") - 12f32.ln()).abs() < 1e-5);
    }

    #[test]
    fn a_number_too_large_to_be_a_count_is_none() {
        assert_eq!(
            PromptText::new("What happened in 1905?", 6).asked_items(),
            0
        );
        assert_eq!(PromptText::new("", 0).asked_items(), 0);
    }
}
