//! Texts that end a response: found wherever tokens cut them, and never given out.

/// Looks for stop texts in a growing response.
#[derive(Debug, Clone, Default)]
pub struct Stopper {
    stops: Vec<String>,
    /// What may be the beginning of a stop text.
    held: String,
}

/// What may be given out, and whether a stop text came up behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Released {
    /// Text without any part of a stop text.
    pub text: String,
    /// Whether the response ends here.
    pub stopped: bool,
}

impl Stopper {
    /// Looks for these; empty ones do not count.
    pub fn new(stops: impl IntoIterator<Item = String>) -> Self {
        Self {
            stops: stops.into_iter().filter(|stop| !stop.is_empty()).collect(),
            held: String::new(),
        }
    }

    /// Takes in more text.
    pub fn push(&mut self, text: &str) -> Released {
        if self.stops.is_empty() {
            return Released {
                text: text.to_owned(),
                stopped: false,
            };
        }
        self.held += text;
        let found = self
            .stops
            .iter()
            .filter_map(|stop| self.held.find(stop.as_str()));
        if let Some(at) = found.min() {
            self.held.truncate(at);
            return Released {
                text: std::mem::take(&mut self.held),
                stopped: true,
            };
        }
        let keep = self.stops.iter().map(|stop| overlap(&self.held, stop));
        let rest = self
            .held
            .split_off(self.held.len() - keep.max().unwrap_or(0));
        Released {
            text: std::mem::replace(&mut self.held, rest),
            stopped: false,
        }
    }

    /// What is left when no more comes.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

/// Bytes at the end of `text` that `stop` begins with.
fn overlap(text: &str, stop: &str) -> usize {
    let most = text.len().min(stop.len() - 1);
    let fits = |&len: &usize| stop.is_char_boundary(len) && text.ends_with(&stop[..len]);
    (1..=most).rev().find(fits).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_stop_text_in_pieces_is_found_and_kept_back() {
        let mut stopper = Stopper::new(["\n\nQ:".to_owned(), String::new()]);
        assert_eq!(stopper.push("Hi\n").text, "Hi");
        assert_eq!(stopper.push("\n").text, "");
        let more = stopper.push("A");
        assert_eq!((more.text.as_str(), more.stopped), ("\n\nA", false));
        assert_eq!(stopper.push("\n\nQ").text, "");
        let end = stopper.push(": what");
        assert_eq!((end.text.as_str(), end.stopped), ("", true));
    }

    proptest! {
        #[test]
        fn pieces_give_what_the_whole_gives(
            text in "[abß]{0,20}", stops in prop::collection::vec("[abß]{0,3}", 0..3),
            cuts in prop::collection::vec(0usize..20, 0..4),
        ) {
            let ends = stops.iter().filter(|stop| !stop.is_empty());
            let end = ends.filter_map(|stop| text.find(stop.as_str())).min();
            let mut stopper = Stopper::new(stops.clone());
            let mut cuts: Vec<usize> =
                cuts.into_iter().filter(|&at| text.is_char_boundary(at.min(text.len()))).collect();
            cuts.push(text.len());
            cuts.sort_unstable();
            let (mut out, mut from, mut stopped) = (String::new(), 0, false);
            for cut in cuts.into_iter().map(|at| at.min(text.len())) {
                let released = stopper.push(&text[from..cut]);
                from = cut;
                out += &released.text;
                stopped = released.stopped;
                if stopped {
                    break;
                }
            }
            if !stopped {
                out += &stopper.finish();
            }
            prop_assert_eq!(stopped, end.is_some());
            // In pieces, a stop text is taken as soon as it is complete, so a longer one that
            // begins earlier may still be open.
            match end {
                None => prop_assert_eq!(out, text),
                Some(_) => prop_assert!(text.starts_with(&out)),
            }
        }
    }
}
