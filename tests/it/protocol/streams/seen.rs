//! What a stream held, counted by words, and what it must and must not hold.

use std::collections::{BTreeMap, BTreeSet};

use pghost::{
    pgoutput::{Message, OldTuple, ProtoVersion, Streaming, Tuple, TupleValue},
    replication::{Origins, StreamOptions},
};

#[derive(Debug, Default)]
pub(super) struct Seen(BTreeMap<String, usize>);

impl Seen {
    fn note(&mut self, what: impl Into<String>) {
        *self.0.entry(what.into()).or_default() += 1;
    }

    pub(super) fn count(&self, what: &str) -> usize {
        self.0.get(what).copied().unwrap_or(0)
    }

    pub(super) fn take(&mut self, message: &Message<'_>, in_block: bool) {
        self.note(message.kind().name());
        if in_block {
            self.note(format!("{} in a block", message.kind()));
        }
        match message {
            Message::Relation(m) => {
                self.note(format!("identity {}", char::from(m.replica_identity.letter())));
            }
            Message::Type(m) => self.note(format!("type {}.{}", m.namespace, m.name)),
            Message::Insert(m) => {
                self.tuple("insert", m.new);
            }
            Message::Update(m) => {
                match m.old {
                    None => self.note("update -"),
                    Some(OldTuple::Key(old)) => self.tuple("update K", old),
                    Some(OldTuple::Full(old)) => self.tuple("update O", old),
                }
                self.tuple("update", m.new);
            }
            Message::Delete(m) => match m.old {
                OldTuple::Key(old) => self.tuple("delete K", old),
                OldTuple::Full(old) => self.tuple("delete O", old),
            },
            Message::Truncate(m) => {
                self.note(format!("truncate {} {}", m.cascade, m.restart_identity));
            }
            Message::Logical(m) => self.note(format!("message {}", m.transactional)),
            Message::Origin(m) => self.note(format!("origin {} {}", m.name, m.commit_lsn)),
            Message::StreamStart(m) => self.note(format!("stream start {}", m.first)),
            Message::StreamAbort(m) => {
                self.note(if m.xid == m.subxid { "abort of all" } else { "abort of a part" });
                self.note(if m.info.is_some() { "abort with info" } else { "abort without" });
            }
            _ => {}
        }
    }

    fn tuple(&mut self, what: &str, tuple: Tuple<'_>) {
        self.note(what);
        for value in tuple.values() {
            let kind = match value {
                TupleValue::Null => "n",
                TupleValue::Unchanged => "u",
                TupleValue::Text(b"") => "t empty",
                TupleValue::Text(_) => "t",
                TupleValue::Binary(b"") => "b empty",
                TupleValue::Binary(_) => "b",
            };
            self.note(format!("value {kind}"));
            // What was not changed is only known of the new row.
            assert!(kind != "u" || what == "insert" || what == "update", "{what}: {tuple:?}");
        }
    }
}

/// What every stream holds.
const ALWAYS: &[&str] = &[
    "Begin",
    "Commit",
    "Relation",
    "Type",
    "Insert",
    "Update",
    "Delete",
    "Truncate",
    "identity d",
    "identity n",
    "identity f",
    "identity i",
    "type public.mood",
    "type public._mood",
    "type public.pair",
    "type public._pair",
    "type public.floats",
    // Domains are called by what they are of, their arrays are not.
    "type pg_catalog.int4",
    "type pg_catalog.text",
    "type public._positive",
    "update -",
    "update K",
    "update O",
    "delete K",
    "delete O",
    "truncate false false",
    "truncate true false",
    "truncate false true",
    "truncate true true",
    "value n",
    "value u",
    "value t",
];

/// What it holds as well for each thing that was asked for.
const BINARY: &[&str] = &["value b", "value b empty"];
const MESSAGES: &[&str] = &["Message", "message true", "message false"];
const ORIGINS: &[&str] = &["Origin", "origin else where 0/ABCDEF", "origin else where 0/0"];
const STREAMING: &[&str] = &[
    "Stream Start",
    "stream start true",
    "stream start false",
    "Stream Stop",
    "Stream Commit",
    "Relation in a block",
    "Type in a block",
    "Insert in a block",
    "Update in a block",
    "Delete in a block",
    "Truncate in a block",
];
const TWO_PHASE: &[&str] = &["Begin Prepare", "Prepare", "Commit Prepared", "Rollback Prepared"];
/// A rollback is seen where a transaction was streamed while it ran. A server that reads of it
/// later knows how it ended, and need not begin.
const ABORTS: &[&str] = &["Stream Abort", "abort of all", "abort of a part"];

/// Panics unless a stream held everything that it must, and nothing that it must not.
pub(super) fn check(seen: &Seen, options: &StreamOptions, live: bool) {
    let streaming = options.streaming != Streaming::Off;
    let origins = options.origins == Origins::Any;
    let parallel = options.streaming == Streaming::Parallel;
    let two_phase = options.two_phase;
    let mut must: BTreeSet<&str> = ALWAYS.iter().copied().collect();
    let mut must_not = BTreeSet::new();
    let mut if_so = |asked: bool, what: &[&'static str]| {
        if asked {
            must.extend(what);
        } else {
            must_not.extend(what);
        }
    };
    if_so(options.binary, BINARY);
    if_so(!options.binary, &["value t empty"]);
    if_so(options.messages, MESSAGES);
    if_so(options.messages && streaming, &["Message in a block"]);
    if_so(origins, ORIGINS);
    if_so(origins && streaming, &["Origin in a block"]);
    if_so(streaming, STREAMING);
    if_so(two_phase, TWO_PHASE);
    if_so(two_phase && streaming, &["Stream Prepare"]);
    if live && streaming {
        if_so(true, ABORTS);
        if_so(parallel, &["abort with info"]);
        if_so(!parallel, &["abort without"]);
    } else if !parallel {
        if_so(false, &["abort with info"]);
    }
    for what in must {
        assert!(seen.count(what) > 0, "no {what} in {options}, live {live}: {seen:#?}");
    }
    for what in must_not {
        assert_eq!(seen.count(what), 0, "{what} in {options}, live {live}: {seen:#?}");
    }
    if options.version < ProtoVersion::V2 {
        assert!(!seen.0.keys().any(|what| what.ends_with("in a block")), "{seen:#?}");
    }
}
