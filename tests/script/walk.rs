//! The walk: in every state, every message, and what has to come of it.

use std::{error::Error as _, sync::Arc};

use pghost::conn::Error;
use tokio::{task::JoinSet, time::timeout};

use super::{
    backend::{Damage, Sent},
    client::{Op, Outcome, run},
    server::{Gone, HANGS, Listener, PASSWORD, Peer, STARTS},
    states::{self, Ends, State},
};

/// What an attempt with a message must come to.
#[derive(Clone, Copy, Debug)]
enum Wanted {
    /// The message may come: how the server goes on, and how it ends.
    Legal(&'static str, Ends),
    /// It may not: an error of this kind, and the connection is of no use any more.
    Wrong(Kind),
}

/// Kinds of errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Authentication,
    ConnectTimeout,
    /// Or broken: what a socket says of a peer that is gone depends on what was under way.
    Closed,
    Frame,
    Malformed,
    NothingAsked,
    Poisoned,
    Server,
    Unexpected,
    Other,
}

pub(crate) const fn kind(error: &Error) -> Kind {
    match error {
        Error::Authentication(_) => Kind::Authentication,
        Error::ConnectTimeout { .. } => Kind::ConnectTimeout,
        Error::Closed | Error::Io(_) => Kind::Closed,
        Error::Frame(_) => Kind::Frame,
        Error::Malformed(_) => Kind::Malformed,
        Error::NothingAsked => Kind::NothingAsked,
        Error::Poisoned => Kind::Poisoned,
        Error::Server(_) => Kind::Server,
        Error::Unexpected { .. } => Kind::Unexpected,
        _ => Kind::Other,
    }
}

/// The password is in none of an error's texts.
pub(crate) fn assert_discreet(error: &Error) {
    let mut texts = vec![format!("{error} {error:?} {error:#?}")];
    let mut source = error.source();
    while let Some(cause) = source {
        texts.push(format!("{cause} {cause:?}"));
        source = cause.source();
    }
    let bytes = format!("{:?}", PASSWORD.as_bytes());
    for text in texts {
        assert!(!text.contains(PASSWORD), "{text}");
        assert!(!text.contains(bytes.trim_matches(['[', ']'])), "{text}");
    }
}

impl State {
    pub(crate) fn is_startup(&self) -> bool {
        self.lead.contains("startup")
    }

    /// Whether the next message is to be one of authentication.
    fn is_authenticating(&self) -> bool {
        self.is_startup() && !self.lead.contains("R0")
    }

    fn wanted(&self, sent: &Sent) -> Wanted {
        let has_failed = self.lead.ends_with('E');
        match *sent {
            Sent::Length(..) => Wanted::Wrong(Kind::Frame),
            // What the server has said is known; that it hangs up does not change it.
            Sent::End(_) if has_failed => Wanted::Legal("", Ends::Ended),
            Sent::End(_) => Wanted::Wrong(Kind::Closed),
            _ if sent.is_malformed() => Wanted::Wrong(Kind::Malformed),
            Sent::Message(name, damage) => self.wanted_for(name, damage),
            Sent::Unknown => Wanted::Wrong(Kind::Malformed),
        }
    }

    fn wanted_for(&self, name: &str, damage: Damage) -> Wanted {
        let is_damaged_request = name.starts_with('R') && damage != Damage::Whole;
        if self.passes.contains(&name) {
            return Wanted::Legal(self.rest, self.ends);
        }
        let found = self.legal.iter().find(|(legal, ..)| *legal == name);
        match found {
            // 3.0 has keys of four bytes.
            Some(_) if name == "K" && damage != Damage::Whole => Wanted::Wrong(Kind::Malformed),
            Some((_, then, ends)) if !is_damaged_request => Wanted::Legal(then, *ends),
            _ if name.starts_with('R') && self.is_authenticating() => {
                Wanted::Wrong(Kind::Authentication)
            }
            _ => Wanted::Wrong(Kind::Unexpected),
        }
    }

    /// Plays the server's part.
    async fn serve(&self, peer: &mut Peer, sent: &Sent, then: &str) -> Result<(), Gone> {
        if !self.is_startup() {
            peer.play(STARTS).await?;
        }
        peer.play(self.lead).await?;
        peer.put(&sent.bytes());
        if matches!(sent, Sent::End(_)) {
            return peer.flush().await;
        }
        peer.play(then).await?;
        peer.oblige().await;
        Ok(())
    }

    /// Every message, one session each.
    async fn walk(self) -> usize {
        let state = Arc::new(self);
        let mut pairs = JoinSet::new();
        for sent in Sent::all() {
            let state = state.clone();
            pairs.spawn(async move { state.attempt(&sent).await });
        }
        let count = pairs.len();
        pairs.join_all().await;
        count
    }

    async fn attempt(&self, sent: &Sent) {
        let wanted = self.wanted(sent);
        let then = match wanted {
            Wanted::Legal(then, _) => then,
            // All the same the server goes on as if nothing had been.
            Wanted::Wrong(_) => self.rest,
        };
        let listener = Listener::unix();
        let config = listener.config(self.settings);
        let serving = async {
            let mut peer = listener.accept().await;
            let _ = self.serve(&mut peer, sent, then).await;
        };
        let client = Box::pin(run(self.op, &config, std::future::pending::<()>()));
        let both = async { tokio::join!(serving, client).1 };
        let outcome = timeout(HANGS, both).await;
        let outcome = outcome.unwrap_or_else(|_| panic!("{}: {sent:?} hangs", self.name));
        self.judge(sent, wanted, &outcome);
    }

    fn judge(&self, sent: &Sent, wanted: Wanted, outcome: &Outcome) {
        let Outcome { first, again } = outcome;
        for error in [first.as_ref().err(), again.as_ref().and_then(|again| again.as_ref().err())] {
            error.into_iter().for_each(assert_discreet);
        }
        let failed_with = first.as_ref().err().map(kind);
        let goes_on = again.as_ref().is_some_and(Result::is_ok);
        let is_right = match wanted {
            Wanted::Legal(_, Ends::Well) => failed_with.is_none() && goes_on,
            Wanted::Legal(_, Ends::Failed) => failed_with == Some(Kind::Server) && goes_on,
            // CopyFail asks for an error and takes it for an answer.
            Wanted::Legal(_, Ends::Ended) if self.op == Op::CopyFail => {
                failed_with.is_none() && !goes_on
            }
            Wanted::Legal(_, Ends::Ended) => failed_with == Some(Kind::Server) && !goes_on,
            Wanted::Legal(_, Ends::Closed) => failed_with == Some(Kind::Closed) && !goes_on,
            Wanted::Wrong(kind) => failed_with == Some(kind) && !goes_on,
        };
        let name = self.name;
        assert!(is_right, "{name}: {sent:?} should have been {wanted:?}, and was {outcome:?}");
    }
}

async fn walk(states: Vec<State>) {
    let mut pairs = 0;
    for state in states {
        pairs += state.walk().await;
    }
    eprintln!("{pairs} pairs of a state and a message");
}

#[tokio::test]
async fn every_state_of_startup() {
    walk(states::startup()).await;
}

#[tokio::test]
async fn every_state_of_a_query() {
    walk(states::query()).await;
}

#[tokio::test]
async fn every_state_of_the_extended_protocol() {
    walk(states::extended()).await;
}

#[tokio::test]
async fn every_state_of_copy() {
    walk(states::copy()).await;
}

#[tokio::test]
async fn every_state_of_copy_both() {
    walk(states::stream()).await;
}

#[tokio::test]
async fn every_state_of_a_pipeline() {
    walk(states::pipeline()).await;
}
