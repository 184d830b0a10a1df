//! An operator's way to the policies of a running engine. All of it may block; nothing of it holds
//! up the scheduling thread for longer than an installation, some microseconds.

mod boot;
mod canary;
mod error;
mod hindsight;
mod report;
mod workshop;

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use elis_policy_runtime::{Runtime, resolve};

use super::EngineError;
use super::deck::{Board, Deck, Installed, Note, Order, Refusal, Shadow};
use super::driver::Message;
use crate::shelf::{Action, Choice, Digest, Shelf, Signers};
use crate::still::Still;
use workshop::{Workshop, ms};

pub use error::PolicyError;
pub use report::{Check, Overview, Promoted, Pushed, Row, Shade};

/// How long a promotion waits for the first decision.
const DECISION_WAIT: Duration = Duration::from_secs(1);

/// Which policy an engine begins with, and where policies are kept.
#[derive(Debug)]
pub struct PolicyOptions {
    /// The first live policy, by name or path.
    pub policy: String,
    /// Its configuration, TOML.
    pub config: String,
    /// What outlives the process.
    pub shelf: Shelf,
    /// Who may sign policies.
    pub signers: Signers,
}

/// A wish to change the live policy.
#[derive(Debug, Clone, Default)]
pub struct Promote {
    /// Its configuration, TOML.
    pub config: String,
    /// What the change is meant for; without it, how things stand when the wish comes in.
    pub epoch: Option<u64>,
    /// Whether the state of the live policy is left behind.
    pub fresh_state: bool,
}

/// The policies of an engine. Cheap to clone.
#[derive(Clone)]
pub struct Policies(Arc<Inner>);

struct Inner {
    workshop: Workshop,
    messages: Sender<Message>,
    /// How many there are to take a share of.
    workers: usize,
    /// What is recorded for an estimate, while a policy is in shadow.
    window: Mutex<Option<hindsight::Window>>,
}

impl std::fmt::Debug for Policies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Policies").finish_non_exhaustive()
    }
}

impl Policies {
    /// The way to a deck, and the deck.
    pub(super) fn begin(
        options: PolicyOptions,
        runtime: Runtime,
        board: Arc<Board>,
        messages: Sender<Message>,
        workers: usize,
    ) -> Result<(Self, Deck), EngineError> {
        let PolicyOptions {
            policy,
            config,
            shelf,
            signers,
        } = options;
        let workshop = Workshop::new(shelf, runtime, signers, Arc::clone(&board));
        let boot::Begin { live, warm, epoch } = boot::begin(&workshop, &policy, &config)?;
        let policies = Self(Arc::new(Inner {
            workshop,
            messages,
            workers,
            window: Mutex::default(),
        }));
        let (notes, heard) = channel();
        let keeper = policies.clone();
        let thread = thread::Builder::new().name("elis-policy-keeper".to_owned());
        let spawned = thread.spawn(move || keeper.keep(&heard));
        spawned.map_err(EngineError::Thread)?;
        let deck = Deck::new(live, warm, epoch, workers, board, notes);
        Ok((policies, deck))
    }

    /// Notes what the deck does by itself, which has no time to write files.
    fn keep(&self, notes: &Receiver<Note>) {
        let shelf = &self.0.workshop.shelf;
        while let Ok(note) = notes.recv() {
            let (record, digest, who, action, outcome) = match note {
                Note::Fall {
                    record,
                    fallen,
                    why,
                } => {
                    let outcome = format!("taken down: {why}");
                    (Some(record), fallen.digest, "ladder", "rollback", outcome)
                }
                Note::Canary {
                    record,
                    digest,
                    outcome,
                } => (record, digest, "guard", "canary", outcome),
            };
            if let Some(record) = record
                && let Err(error) = shelf.set_live(&record)
            {
                tracing::error!(%error, "the live policy cannot be recorded");
            }
            shelf.audit(&Action::now(who, action, Some(digest), &outcome));
        }
    }

    /// Takes a policy in, by its bytes.
    ///
    /// # Errors
    ///
    /// What makes it no policy for this host.
    pub fn push(
        &self,
        bytes: &[u8],
        signature: Option<&str>,
        who: &str,
    ) -> Result<Pushed, PolicyError> {
        let recent = self.recent()?;
        let pushed = self.0.workshop.push(bytes, signature, &recent);
        self.audit(who, "push", Some(Digest::of(bytes)), &pushed);
        pushed
    }

    /// Makes a stored policy the live one.
    ///
    /// # Errors
    ///
    /// Why not. Nothing is changed then.
    pub fn promote(
        &self,
        digest: Digest,
        wish: &Promote,
        who: &str,
    ) -> Result<Promoted, PolicyError> {
        let promoted = self.try_promote(digest, wish);
        self.audit(who, "promote", Some(digest), &promoted);
        promoted
    }

    fn try_promote(&self, digest: Digest, wish: &Promote) -> Result<Promoted, PolicyError> {
        let (begin, workshop) = (Instant::now(), &self.0.workshop);
        let epoch = self.meant(wish.epoch)?;
        let policy = workshop.load(digest)?;
        let recent = self.recent()?;
        let tried_on = workshop::trial(&policy, &wish.config, &recent)?;
        let choice = Choice {
            digest,
            config: wish.config.clone(),
        };
        let seat = Box::new(workshop.seat(&policy, choice)?);
        let prepared = begin.elapsed();
        workshop.board.prepared.observe(prepared.as_secs_f64());
        let (reply, answer) = channel();
        self.send(Order::Promote {
            seat,
            epoch,
            hand_over: !wish.fresh_state,
            reply,
        })?;
        let promoted = self.installed(epoch, &answer)?;
        Ok(Promoted {
            tried_on,
            prepare_ms: ms(prepared),
            ..promoted
        })
    }

    /// Goes back to the policy that was live before.
    ///
    /// # Errors
    ///
    /// Why not. Nothing is changed then.
    pub fn rollback(&self, epoch: Option<u64>, who: &str) -> Result<Promoted, PolicyError> {
        let rolled = self.meant(epoch).and_then(|epoch| {
            let (reply, answer) = channel();
            self.send(Order::Rollback { epoch, reply })?;
            self.installed(epoch, &answer)
        });
        let digest = rolled.as_ref().ok().map(|promoted| promoted.digest);
        self.audit(who, "rollback", digest, &rolled);
        rolled
    }

    /// What a change is meant for, if that still holds.
    fn meant(&self, epoch: Option<u64>) -> Result<u64, PolicyError> {
        let current = self.0.workshop.board.epoch();
        match epoch {
            Some(given) if given != current => Err(PolicyError::Epoch { given, current }),
            _ => Ok(current),
        }
    }

    /// Waits for an installation and the first decision, and records it.
    fn installed(
        &self,
        given: u64,
        answer: &Receiver<Result<Installed, Refusal>>,
    ) -> Result<Promoted, PolicyError> {
        let installed = answer.recv().map_err(|_| PolicyError::Gone)?;
        let installed = installed.map_err(|refusal| refusal.error(given))?;
        let decided = match installed
            .first
            .map(|first| first.recv_timeout(DECISION_WAIT))
        {
            Some(Ok(Ok(()))) => true,
            Some(Ok(Err(why))) => return Err(PolicyError::FirstDecision(why)),
            // Nobody asked for one, or the next change was faster.
            None | Some(Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected)) => false,
        };
        let (workshop, record) = (&self.0.workshop, installed.record);
        self.close_window();
        let recorded = workshop.shelf.set_live(&record);
        if let Err(error) = &recorded {
            tracing::error!(%error, "the live policy cannot be recorded");
        }
        let digest = record.live.digest;
        let name = workshop.known(digest).map(|p| p.info().name.clone());
        let name = name.unwrap_or_default();
        tracing::info!(
            policy = name,
            digest = digest.short(),
            "another policy is live"
        );
        Ok(Promoted {
            epoch: record.epoch,
            digest,
            name,
            decided,
            state_bytes: installed.state_bytes,
            tried_on: 0,
            prepare_ms: 0.0,
            install_us: ms(installed.took) * 1e3,
            durable: workshop.shelf.is_durable() && recorded.is_ok(),
        })
    }

    /// Has a stored policy decide in shadow, with at most that share of a core.
    ///
    /// # Errors
    ///
    /// Why not. Another policy that is in shadow stays there then.
    pub fn shadow(
        &self,
        digest: Digest,
        config: &str,
        share: f64,
        who: &str,
    ) -> Result<(), PolicyError> {
        let shaded = self.try_shadow(digest, config, share);
        self.audit(who, "shadow", Some(digest), &shaded);
        shaded
    }

    fn try_shadow(&self, digest: Digest, config: &str, share: f64) -> Result<(), PolicyError> {
        if !(share > 0.0 && share <= 1.0) {
            return Err(PolicyError::Range(
                "the share must be above 0 and at most 1",
            ));
        }
        let workshop = &self.0.workshop;
        let policy = workshop.load(digest)?;
        workshop::trial(&policy, config, &self.recent()?)?;
        let choice = Choice {
            digest,
            config: config.to_owned(),
        };
        let seat = workshop.seat(&policy, choice.clone())?;
        let shadow = Shadow::start(seat, share).map_err(PolicyError::Thread)?;
        self.set_shadow(Some(Box::new(shadow)))?;
        self.open_window(choice);
        Ok(())
    }

    fn set_shadow(&self, shadow: Option<Box<Shadow>>) -> Result<(), PolicyError> {
        let (reply, answer) = channel();
        self.send(Order::Shadow { shadow, reply })?;
        answer.recv().map_err(|_| PolicyError::Gone)
    }

    /// Ends the shadow run, if there is one.
    ///
    /// # Errors
    ///
    /// The engine is gone.
    pub fn end_shadow(&self, who: &str) -> Result<(), PolicyError> {
        let ended = self.set_shadow(None);
        self.close_window();
        self.audit(who, "end shadow", None, &ended);
        ended
    }

    /// Lets go of a stored policy that nobody uses.
    ///
    /// # Errors
    ///
    /// It is not there, or in use.
    pub fn remove(&self, digest: Digest, who: &str) -> Result<(), PolicyError> {
        let removed = match self.role(digest) {
            "stored" => {
                self.0.workshop.forget(digest);
                self.0.workshop.shelf.remove(digest).map_err(Into::into)
            }
            role => Err(PolicyError::InUse(role)),
        };
        self.audit(who, "remove", Some(digest), &removed);
        removed
    }

    /// The digest that a text stands for: all of one, its first digits, or the name of a policy
    /// that comes with this host, which is taken in then.
    ///
    /// # Errors
    ///
    /// It stands for none, or for several.
    pub fn find(&self, text: &str) -> Result<Digest, PolicyError> {
        if let Ok(digest) = text.parse() {
            return Ok(digest);
        }
        let lower = text.to_ascii_lowercase();
        let stored = self.0.workshop.shelf.list().into_iter();
        let mut fits = stored.filter(|(digest, _)| digest.to_string().starts_with(&lower));
        match (fits.next(), fits.next()) {
            (Some((digest, _)), None) if text.len() >= 4 => Ok(digest),
            (Some(_), Some(_)) if text.len() >= 4 => Err(PolicyError::Ambiguous(text.to_owned())),
            _ => Err(PolicyError::Unknown(text.to_owned())),
        }
    }

    /// A policy that comes with this host, taken in by its name.
    ///
    /// # Errors
    ///
    /// There is none of that name, or it is none for this host.
    pub fn built_in(&self, name: &str, who: &str) -> Result<Digest, PolicyError> {
        let unknown = || PolicyError::Unknown(name.to_owned());
        let named = resolve::list().into_iter().find(|n| n.name == name);
        let path = named.ok_or_else(unknown)?.path;
        let bytes = std::fs::read(&path).map_err(|_| unknown())?;
        let digest = Digest::of(&bytes);
        if self.0.workshop.known(digest).is_none() {
            let signature = std::fs::read_to_string(path.with_added_extension("minisig")).ok();
            self.push(&bytes, signature.as_deref(), who)?;
        }
        Ok(digest)
    }

    /// How things stand.
    ///
    /// # Errors
    ///
    /// The engine is gone.
    pub fn overview(&self) -> Result<Overview, PolicyError> {
        let board = &self.0.workshop.board;
        let standing = board.standing().ok_or(PolicyError::Gone)?;
        let live = standing.record.live;
        let counts = board.tallies.get(live.digest).map(|tally| tally.counts());
        let shadow = standing.shadow.map(|(choice, observed)| Shade {
            name: self.name(choice.digest),
            choice,
            counts: observed.counts(),
        });
        Ok(Overview {
            epoch: standing.record.epoch,
            name: self.name(live.digest),
            live,
            counts: counts.unwrap_or_default(),
            before: standing.record.before.into_iter().rev().collect(),
            shadow,
            canary: self.last_canary(),
            durable: self.0.workshop.shelf.is_durable(),
            not_loaded: board.not_loaded(),
        })
    }

    /// All stored policies.
    pub fn list(&self) -> Vec<Row> {
        let stored = self.0.workshop.shelf.list();
        stored
            .into_iter()
            .map(|(d, size)| self.row(d, size))
            .collect()
    }

    /// One stored policy.
    ///
    /// # Errors
    ///
    /// It is not there.
    pub fn show(&self, digest: Digest) -> Result<Row, PolicyError> {
        self.look_back();
        let stored = self.0.workshop.shelf.list();
        let found = stored.into_iter().find(|(other, _)| *other == digest);
        let (digest, size) = found.ok_or_else(|| PolicyError::Unknown(digest.to_string()))?;
        Ok(self.row(digest, size))
    }

    /// The last actions of operators and of the ladder, oldest first.
    pub fn actions(&self) -> Vec<Action> {
        self.0.workshop.shelf.actions()
    }

    /// The largest policy that is taken, in bytes.
    pub fn bytes_max(&self) -> usize {
        self.0.workshop.runtime.options().policy_bytes
    }

    fn row(&self, digest: Digest, size_bytes: u64) -> Row {
        let Workshop { board, .. } = &self.0.workshop;
        let policy = self.0.workshop.load(digest).ok();
        let info = policy.map(|policy| policy.info().clone());
        let standing = board.standing();
        let record = standing.as_ref().map(|s| &s.record);
        let mut choices = record
            .into_iter()
            .flat_map(|r| r.before.iter().chain([&r.live]));
        let shadow = standing.as_ref().and_then(|s| s.shadow.as_ref());
        let shadow = shadow.filter(|(choice, _)| choice.digest == digest);
        let canary = self.last_canary();
        let canary = canary.filter(|canary| canary.choice.digest == digest);
        let runs = choices.rfind(|choice| choice.digest == digest);
        let decides = canary.as_ref().filter(|canary| canary.stage.is_under_way());
        let runs = runs.or_else(|| decides.map(|canary| &canary.choice));
        let runs = runs.or_else(|| shadow.map(|(choice, _)| choice));
        Row {
            digest,
            name: info.as_ref().map(|info| info.name.clone()),
            version: info.as_ref().map(|info| info.version.clone()),
            summary: info.map(|info| info.summary),
            size_bytes,
            role: self.role(digest),
            config: runs.map(|choice| choice.config.clone()),
            counts: board.tallies.get(digest).map(|tally| tally.counts()),
            shadow: shadow.map(|(_, observed)| observed.counts()),
            canary,
        }
    }

    fn role(&self, digest: Digest) -> &'static str {
        let Some(standing) = self.0.workshop.board.standing() else {
            return "stored";
        };
        let is = |choice: &Choice| choice.digest == digest;
        if is(&standing.record.live) {
            "live"
        } else if standing.record.before.iter().any(is) {
            "warm"
        } else if standing
            .canary
            .is_some_and(|run| is(&run.choice) && run.is_under_way())
        {
            "canary"
        } else if standing.shadow.is_some_and(|(choice, _)| is(&choice)) {
            "shadow"
        } else {
            "stored"
        }
    }

    fn name(&self, digest: Digest) -> String {
        let known = self.0.workshop.known(digest);
        known.map_or_else(String::new, |policy| policy.info().name.clone())
    }

    fn recent(&self) -> Result<Vec<Arc<Still>>, PolicyError> {
        let (reply, answer) = channel();
        self.send(Order::Recent(reply))?;
        answer.recv().map_err(|_| PolicyError::Gone)
    }

    fn send(&self, order: Order) -> Result<(), PolicyError> {
        let sent = self.0.messages.send(Message::Deck(order));
        sent.map_err(|_| PolicyError::Gone)
    }

    fn audit<T>(
        &self,
        who: &str,
        action: &str,
        digest: Option<Digest>,
        outcome: &Result<T, PolicyError>,
    ) {
        let outcome = match outcome {
            Ok(_) => "done".to_owned(),
            Err(error) => format!("refused: {error}"),
        };
        let action = Action::now(who, action, digest, &outcome);
        self.0.workshop.shelf.audit(&action);
    }
}
