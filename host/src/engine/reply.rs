//! One job's way from tokens to text, to its client, to its end.

use std::sync::Arc;

use elis_llm::{Decoder, Stopper, Vocabulary};
use tokio::sync::mpsc::UnboundedSender;

use super::{Event, FinishReason, GenerateRequest, LogProb};
use crate::worker::Sampled;

/// A response in the making.
#[derive(Debug)]
pub(crate) struct Reply {
    request: Arc<GenerateRequest>,
    events: UnboundedSender<Event>,
    vocabulary: Vocabulary,
    decoder: Decoder,
    stopper: Stopper,
    tokens: u32,
    /// Text since it was last taken.
    fresh: String,
}

impl Reply {
    pub(crate) fn new(
        request: Arc<GenerateRequest>,
        events: UnboundedSender<Event>,
        vocabulary: &Vocabulary,
    ) -> Self {
        Self {
            decoder: Decoder::new(vocabulary),
            stopper: Stopper::new(request.stop.iter().cloned()),
            vocabulary: vocabulary.clone(),
            request,
            events,
            tokens: 0,
            fresh: String::new(),
        }
    }

    /// Takes in a token and passes on what it completes; whether it was the last one.
    pub(crate) fn push(&mut self, sampled: &Sampled) -> bool {
        self.tokens += 1;
        let ends = self.vocabulary.ends(sampled.token) && !self.request.ignore_eos;
        // What cannot be decoded has no text; the response goes on.
        let piece = if ends {
            String::new()
        } else {
            self.decoder.push(sampled.token).unwrap_or_default()
        };
        let mut released = self.stopper.push(&piece);
        let full = self.tokens >= self.request.max_new_tokens;
        if !released.stopped && (ends || full) {
            let rest = self.decoder.finish().unwrap_or_default();
            let last = self.stopper.push(&rest);
            released.text += &last.text;
            released.stopped = last.stopped;
            if !last.stopped {
                released.text += &self.stopper.finish();
            }
        }
        self.fresh += &released.text;
        let reason = if released.stopped || ends {
            Some(FinishReason::Stop)
        } else {
            full.then_some(FinishReason::Length)
        };
        // A client that is gone hears nothing; the engine learns of it by its own way.
        let _ = self.events.send(Event::Token {
            text: released.text,
            logprobs: self.logprobs(sampled),
        });
        if let Some(reason) = reason {
            let _ = self.events.send(Event::Finished {
                text: String::new(),
                reason,
                completion_tokens: self.tokens,
            });
        }
        reason.is_some()
    }

    /// The text since the last call.
    pub(crate) fn take_fresh(&mut self) -> String {
        std::mem::take(&mut self.fresh)
    }

    fn logprobs(&self, sampled: &Sampled) -> Option<(LogProb, Vec<LogProb>)> {
        let (own, top) = sampled.logprobs.as_ref()?;
        let one = |token: u32, logprob: f32| LogProb {
            token,
            text: self.vocabulary.decode(&[token]).unwrap_or_default(),
            logprob,
        };
        let top = top.iter().map(|&(token, logprob)| one(token, logprob));
        Some((one(sampled.token, *own), top.collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use elis_llm::Sampling;
    use tokio::sync::mpsc;

    fn run(stop: &[&str], max_new_tokens: u32, text: &str) -> (String, Option<FinishReason>, u32) {
        let vocabulary = Vocabulary::bytes().unwrap();
        let request = GenerateRequest {
            max_new_tokens,
            stop: stop.iter().map(|&stop| stop.to_owned()).collect(),
            ..GenerateRequest::plain("", &[], Sampling::default())
        };
        let (events, mut heard) = mpsc::unbounded_channel();
        let mut reply = Reply::new(Arc::new(request), events, &vocabulary);
        for token in vocabulary.encode(text, false).unwrap() {
            let sampled = Sampled {
                job: 1,
                token,
                logprobs: None,
            };
            if reply.push(&sampled) {
                break;
            }
        }
        let (mut said, mut end) = (String::new(), (None, 0));
        while let Ok(event) = heard.try_recv() {
            match event {
                Event::Token { text, .. } => said += &text,
                Event::Finished {
                    reason,
                    completion_tokens,
                    ..
                } => end = (Some(reason), completion_tokens),
                Event::Failed(error) => panic!("{error}"),
            }
        }
        assert_eq!(reply.take_fresh(), said);
        (said, end.0, end.1)
    }

    #[test]
    fn it_ends_by_length_with_all_its_text() {
        let end = run(&["xyz"], 5, "helloxy");
        assert_eq!(end, ("hello".to_owned(), Some(FinishReason::Length), 5));
        let held = run(&["xyz"], 6, "helloxy");
        assert_eq!(held.0, "hellox");
        assert_eq!(run(&[], 9, "hello"), ("hello".to_owned(), None, 0));
    }

    #[test]
    fn it_ends_before_a_stop_text() {
        let end = run(&["lo"], 50, "hello, world");
        assert_eq!(end, ("hel".to_owned(), Some(FinishReason::Stop), 5));
    }
}
