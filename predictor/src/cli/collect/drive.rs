//! The collection itself: what is to be asked, at which pace, and what becomes of each answer.

use std::fmt;
use std::time::Duration;

use anyhow::Result;
use futures_util::stream::{self, Stream, StreamExt};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::{Interval, MissedTickBehavior};

use super::prompts::Prompt;
use super::server::{Answer, AskError, Sampling, Server};
use super::stop::Stop;
use super::store::{FAILURES, Failure, RESPONSES, Response, Store};

/// Answers between two lines of progress where no bar can be seen.
const LINE_EVERY: u64 = 50;

/// All that a collection needs.
pub(crate) struct Drive {
    pub(crate) server: Server,
    pub(crate) model: String,
    pub(crate) store: Store,
    pub(crate) sampling: Sampling,
    pub(crate) concurrency: usize,
    pub(crate) rate_rps: Option<f64>,
    pub(crate) give_up_after: u32,
    pub(crate) stop: Stop,
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Responses that were there before.
    pub(crate) known: u64,
    /// Responses that were asked for and came.
    pub(crate) answered: u64,
    /// Requests that failed for good.
    pub(crate) failed: u64,
    /// Requests that nobody waited for, since somebody asked to stop.
    pub(crate) left: u64,
    /// Whether too many failed in a row.
    pub(crate) gave_up: bool,
    /// Why the last one failed.
    pub(crate) last_failure: String,
    /// Tokens of the responses that came.
    pub(crate) output_tokens: u64,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} answered ({} tokens), {} failed, {} there before, {} left",
            self.answered, self.output_tokens, self.failed, self.known, self.left
        )
    }
}

/// One request.
#[derive(Debug, Clone)]
struct Work<'a> {
    prompt: &'a Prompt,
    sample: u32,
    sampling: Sampling,
}

impl Drive {
    /// Asks for what is not there yet. All prompts get their first sample before any gets a second,
    /// so that an early end leaves as many different prompts as possible.
    pub(crate) async fn run(&mut self, prompts: &[Prompt], samples: u32) -> Result<Tally> {
        let all = (0..samples).flat_map(|sample| prompts.iter().map(move |p| (p, sample)));
        let mut tally = Tally::default();
        let mut work = Vec::new();
        for (prompt, sample) in all {
            let key = (prompt.source.clone(), prompt.id.clone(), sample);
            if self.store.holds(&key) {
                tally.known += 1;
            } else {
                work.push(self.work(prompt, sample));
            }
        }
        tally.left = work.len() as u64;
        let bar = bar(work.len());
        let (server, model, stop) = (self.server.clone(), self.model.clone(), self.stop.clone());
        let answers = paced(work, self.rate_rps)
            .take_until(stop.asked(1))
            .map(async |work: Work<'_>| {
                let answer = server.ask(&model, &work.prompt.text, &work.sampling).await;
                (work, answer)
            })
            .buffer_unordered(self.concurrency);
        let mut answers = std::pin::pin!(answers);
        let mut in_a_row = 0;
        while let Some((work, answer)) = answers.next().await {
            match answer {
                Ok(answer) => {
                    self.keep(&work, &answer)?;
                    tally.answered += 1;
                    tally.output_tokens += u64::from(answer.output_tokens);
                    in_a_row = 0;
                }
                // It was not asked as often as it would have been, so it has not failed.
                Err(error) if error.passes() && self.stop.is_asked() => continue,
                Err(error) => {
                    self.keep_failure(&work, &error)?;
                    tally.failed += 1;
                    tally.last_failure = error.to_string();
                    in_a_row += 1;
                    if in_a_row == self.give_up_after {
                        tally.gave_up = true;
                        self.stop.ask();
                    }
                }
            }
            tally.left -= 1;
            step(&bar, &tally);
        }
        bar.finish_and_clear();
        Ok(tally)
    }

    fn work<'a>(&self, prompt: &'a Prompt, sample: u32) -> Work<'a> {
        let drawn = &self.sampling;
        Work {
            prompt,
            sample,
            sampling: Sampling {
                max_tokens: prompt.max_tokens.unwrap_or(drawn.max_tokens),
                seed: drawn.seed.map(|seed| seed.wrapping_add(sample.into())),
                ..drawn.clone()
            },
        }
    }

    fn keep(&mut self, work: &Work<'_>, answer: &Answer) -> Result<()> {
        Ok(self.store.append(&Response {
            schema: RESPONSES,
            id: &work.prompt.id,
            source: &work.prompt.source,
            licence: work.prompt.licence.as_deref(),
            sample: work.sample,
            model: &self.model,
            prompt: &work.prompt.text,
            response: &answer.text,
            prompt_tokens: answer.prompt_tokens,
            output_tokens: answer.output_tokens,
            finish_reason: &answer.finish_reason,
            temperature: work.sampling.temperature,
            top_p: work.sampling.top_p,
            max_tokens: work.sampling.max_tokens,
            seed: work.sampling.seed,
        })?)
    }

    fn keep_failure(&mut self, work: &Work<'_>, error: &AskError) -> Result<()> {
        Ok(self.store.append_failure(&Failure {
            schema: FAILURES,
            id: &work.prompt.id,
            source: &work.prompt.source,
            sample: work.sample,
            model: &self.model,
            status: error.status(),
            error: &error.to_string(),
        })?)
    }
}

/// The work in its order, no faster than the rate.
fn paced<'a>(work: Vec<Work<'a>>, rate_rps: Option<f64>) -> impl Stream<Item = Work<'a>> {
    let pace = rate_rps.map(|rate| {
        let mut pace = tokio::time::interval(Duration::from_secs_f64(1.0 / rate));
        // A server that was slow for a while is not flooded afterwards.
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        pace
    });
    let start: (_, Option<Interval>) = (work.into_iter(), pace);
    stream::unfold(start, async |(mut work, mut pace)| {
        let next = work.next()?;
        if let Some(pace) = &mut pace {
            pace.tick().await;
        }
        Some((next, (work, pace)))
    })
}

/// A progress bar on standard error, hidden where that is no terminal.
fn bar(len: usize) -> ProgressBar {
    let template = "responses {wide_bar} {pos}/{len}, {per_sec}, {elapsed}, {eta} to go {msg} ";
    let style =
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(len as u64).with_style(style)
}

fn step(bar: &ProgressBar, tally: &Tally) {
    bar.inc(1);
    if tally.failed > 0 {
        bar.set_message(format!("{} failed", tally.failed));
    }
    if bar.is_hidden() && bar.position().is_multiple_of(LINE_EVERY) {
        let hours = bar.eta().as_secs_f64() / 3600.0;
        let rate = bar.per_sec() * 60.0;
        eprintln!("{tally}, {rate:.1} a minute, {hours:.1} h to go");
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_pace_is_kept_and_lost_time_is_not_made_good() {
        let prompt = Prompt {
            id: String::new(),
            source: String::new(),
            licence: None,
            text: String::new(),
            max_tokens: None,
        };
        let work = (0..6).map(|sample| Work {
            prompt: &prompt,
            sample,
            sampling: Sampling {
                temperature: 1.0,
                top_p: None,
                max_tokens: 1,
                seed: None,
            },
        });
        let start = Instant::now();
        let mut seen = Vec::new();
        let mut paced = std::pin::pin!(paced(work.collect(), Some(4.0)));
        while let Some(work) = paced.next().await {
            seen.push((work.sample, start.elapsed().as_millis()));
            if work.sample == 2 {
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
        }
        // Virtual time: 250 ms apart, also behind the pause of two seconds.
        let want = [(0, 0), (1, 250), (2, 500), (3, 2500), (4, 2750), (5, 3000)];
        assert_eq!(seen, want);
    }
}
