//! An engine without a model: it answers with the prompt, or as somebody tells it.

use std::future::ready;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use elis_host::engine::{
    Event, FinishReason, Generate, GenerateError, GenerateRequest, Generation, LogProb, Policies,
    ServedModel, Status, Submission,
};
use elis_llm::{Decoder, Vocabulary};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{Notify, mpsc, oneshot};

/// What a double does with a request: send events, or refuse it. The last argument is ready when
/// the server has let go of the response.
pub(crate) type Manner = Box<
    dyn Fn(
            &ServedModel,
            GenerateRequest,
            UnboundedSender<Event>,
            oneshot::Receiver<()>,
        ) -> Result<(), GenerateError>
        + Send
        + Sync,
>;

/// The engine.
pub(crate) struct Double {
    model: ServedModel,
    manner: Manner,
    inside: Arc<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    draining: AtomicBool,
    running: AtomicUsize,
    served: AtomicUsize,
    ended: Notify,
}

impl Double {
    pub(crate) fn new(manner: Manner, chat_template: Option<&str>) -> Arc<Self> {
        Arc::new(Self {
            model: ServedModel {
                id: "double/echo".to_owned(),
                created_s: 1_700_000_000,
                vocabulary: Vocabulary::bytes().expect("all bytes"),
                reads_prompts: true,
                chat_template: chat_template.map(str::to_owned),
                bos_token: "<s>".to_owned(),
                eos_token: "</s>".to_owned(),
                context_tokens: 2048,
            },
            manner,
            inside: Arc::default(),
        })
    }

    fn generate(&self, request: GenerateRequest) -> Result<Generation, GenerateError> {
        let (events, received) = mpsc::unbounded_channel();
        let (drop, dropped) = oneshot::channel();
        let inside = Arc::clone(&self.inside);
        inside.running.fetch_add(1, Ordering::SeqCst);
        let generation = Generation::new(received, move || {
            inside.running.fetch_sub(1, Ordering::SeqCst);
            inside.ended.notify_waiters();
            let _ = drop.send(());
        });
        (self.manner)(&self.model, request, events, dropped)?;
        self.inside.served.fetch_add(1, Ordering::SeqCst);
        Ok(generation)
    }
}

/// The prompt as a response, a token at a time, again and again where it may not end.
pub(crate) fn echo(model: &ServedModel, request: &GenerateRequest) -> Vec<Event> {
    let mut decoder = Decoder::new(&model.vocabulary);
    let mut events = Vec::new();
    let most = request.max_new_tokens as usize;
    let prompt = request.prompt_tokens.iter().copied();
    let tokens: Vec<u32> = if request.ignore_eos {
        prompt.cycle().take(most).collect()
    } else {
        prompt.take(most).collect()
    };
    let scored = |token, logprob| LogProb {
        token,
        text: model.vocabulary.decode(&[token]).expect("a byte"),
        logprob,
    };
    for &token in &tokens {
        events.push(Event::Token {
            text: decoder.push(token).expect("a byte"),
            logprobs: request.logprobs.map(|count| {
                let others = (0_u8..)
                    .take(count)
                    .map(|n| scored(u32::from(n), -1.0 - f32::from(n)));
                (scored(token, -0.5), others.collect())
            }),
        });
    }
    events.push(Event::Finished {
        text: decoder.finish().expect("bytes"),
        reason: if tokens.len() == most {
            FinishReason::Length
        } else {
            FinishReason::Stop
        },
        completion_tokens: u32::try_from(tokens.len()).expect("few tokens"),
    });
    events
}

impl Generate for Double {
    fn model(&self) -> &ServedModel {
        &self.model
    }

    fn submit(&self, request: GenerateRequest) -> Submission {
        Box::pin(ready(self.generate(request)))
    }

    fn status(&self) -> Status {
        Status {
            running: self.inside.running.load(Ordering::SeqCst),
            policy: "first".to_owned(),
            ready: !self.inside.draining.load(Ordering::SeqCst),
            ..Status::default()
        }
    }

    fn metrics(&self) -> String {
        let served = self.inside.served.load(Ordering::SeqCst);
        format!("# TYPE double_requests counter\ndouble_requests_total {served}\n# EOF\n")
    }

    fn policies(&self) -> Option<&Policies> {
        None
    }

    fn drain(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let inside = Arc::clone(&self.inside);
        inside.draining.store(true, Ordering::SeqCst);
        Box::pin(async move {
            loop {
                let ended = inside.ended.notified();
                tokio::pin!(ended);
                ended.as_mut().enable();
                if inside.running.load(Ordering::SeqCst) == 0 {
                    return;
                }
                ended.await;
            }
        })
    }
}
