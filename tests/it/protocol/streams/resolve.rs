//! From decoded messages to committed transactions, in the simplest way that can be right.
//!
//! It holds the server to what the documentation says of the order of messages, and panics when
//! that is not so.

use std::{collections::HashMap, sync::Arc};

use pghost::{
    pg::{Lsn, Oid, PgTimestamp, Xid},
    pgoutput::{
        Begin, BeginPrepare, Commit, LogicalMessage, Message, OldTuple, OwnedRelation, Prepare,
        RollbackPrepared, StreamAbort, StreamStart, Truncate, Tuple, TupleValue,
    },
};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Value {
    Null,
    Unchanged,
    Text(Vec<u8>),
    Binary(Vec<u8>),
}

pub(super) type Row = Vec<Value>;
type Table = Arc<OwnedRelation>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Old {
    Key(Row),
    Full(Row),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Insert { table: Table, new: Row },
    Update { table: Table, old: Option<Old>, new: Row },
    Delete { table: Table, old: Old },
    Truncate { tables: Vec<Table>, cascade: bool, restart: bool },
    Message { lsn: Lsn, prefix: String, content: Vec<u8> },
}

impl Change {
    pub(super) fn is_message(&self) -> bool {
        matches!(self, Self::Message { .. })
    }
}

/// What must be the same however a transaction was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Transaction {
    pub(super) xid: Xid,
    pub(super) commit_lsn: Lsn,
    pub(super) end_lsn: Lsn,
    pub(super) time: PgTimestamp,
    pub(super) origin: Option<String>,
    pub(super) changes: Vec<Change>,
}

/// No server of these tests writes so much; a time taken for a position would be beyond it.
const FAR: Lsn = Lsn(1 << 40);
/// In 2025: after this the tests were written.
const RECENTLY: PgTimestamp = PgTimestamp(800_000_000_000_000);

/// What is said of a prepare, each time that it is spoken of.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Prepared {
    gid: String,
    lsn: Lsn,
    end_lsn: Lsn,
    time: PgTimestamp,
}

impl From<Prepare<'_>> for Prepared {
    fn from(m: Prepare<'_>) -> Self {
        assert!(m.prepare_lsn < m.end_lsn && m.end_lsn < FAR && m.prepare_time > RECENTLY);
        let (lsn, end_lsn, time) = (m.prepare_lsn, m.end_lsn, m.prepare_time);
        Self { gid: m.gid.to_owned(), lsn, end_lsn, time }
    }
}

/// A transaction of which the end has not come.
#[derive(Debug, Default)]
struct Open {
    prepared: Option<Prepared>,
    origin: Option<String>,
    /// Each with the subtransaction that made it; 0 outside of blocks.
    changes: Vec<(Xid, Change)>,
    /// What its blocks said of tables.
    tables: HashMap<Oid, Table>,
}

#[derive(Debug, Default)]
pub(super) struct Resolver {
    tables: HashMap<Oid, Table>,
    /// Between Begin and Commit, or Begin Prepare and Prepare.
    open: Option<(Xid, Open)>,
    begin: Option<Begin>,
    /// Between Stream Start and Stream Stop.
    block: Option<Xid>,
    streamed: HashMap<Xid, Open>,
    prepared: HashMap<Xid, Open>,
    pub(super) committed: Vec<Transaction>,
    /// Transactions without a change.
    pub(super) empty: usize,
    /// Messages that belong to no transaction.
    pub(super) loose: Vec<Change>,
    /// Stream Aborts of transactions that were never streamed.
    pub(super) unasked: usize,
}

impl Resolver {
    pub(super) fn take(&mut self, message: &Message<'_>) {
        match *message {
            Message::Begin(begin) => {
                self.begin(begin.xid, Open::default());
                self.begin = Some(begin);
            }
            Message::Commit(commit) => self.commit(commit),
            Message::Origin(m) => self.current().origin = Some(m.name.to_owned()),
            Message::Relation(m) => {
                let table = Arc::new(OwnedRelation::from(m));
                assert_eq!(m.xid.is_some(), self.block.is_some());
                let tables = match self.block {
                    Some(xid) => &mut self.streamed.get_mut(&xid).unwrap().tables,
                    None => &mut self.tables,
                };
                tables.insert(m.oid, table);
            }
            Message::Type(_) => {}
            Message::Insert(m) => {
                let change = Change::Insert { table: self.table(m.relation), new: row(m.new) };
                self.change(m.xid, change);
            }
            Message::Update(m) => {
                let (table, old) = (self.table(m.relation), m.old.map(old));
                self.change(m.xid, Change::Update { table, old, new: row(m.new) });
            }
            Message::Delete(m) => {
                let change = Change::Delete { table: self.table(m.relation), old: old(m.old) };
                self.change(m.xid, change);
            }
            Message::Truncate(m) => self.truncate(m),
            Message::Logical(m) => self.message(m),
            Message::StreamStart(m) => self.stream_start(m),
            Message::StreamStop => self.block = None,
            Message::StreamCommit(m) => {
                let open = self.streamed.remove(&m.xid).unwrap();
                // Its tables are not sent again to those that come after it.
                self.tables.extend(open.tables.clone());
                self.done(m.xid, (m.commit_lsn, m.end_lsn, m.commit_time), open);
            }
            Message::StreamAbort(m) => self.stream_abort(m),
            Message::BeginPrepare(m) => {
                let BeginPrepare { prepare_lsn, end_lsn, prepare_time, xid, gid } = m;
                let prepared = Prepare { prepare_lsn, end_lsn, prepare_time, xid, gid };
                self.begin(xid, Open { prepared: Some(prepared.into()), ..Open::default() });
            }
            Message::Prepare(m) => {
                let (xid, open) = self.open.take().unwrap();
                assert_eq!((xid, open.prepared.as_ref()), (m.xid, Some(&m.into())));
                self.prepared.insert(xid, open);
            }
            Message::StreamPrepare(m) => {
                let open = self.streamed.remove(&m.xid).unwrap();
                self.prepared.insert(m.xid, Open { prepared: Some(m.into()), ..open });
            }
            Message::CommitPrepared(m) => {
                let open = self.prepared.remove(&m.xid).unwrap();
                assert_eq!(open.prepared.as_ref().unwrap().gid, m.gid);
                self.done(m.xid, (m.commit_lsn, m.end_lsn, m.commit_time), open);
            }
            Message::RollbackPrepared(m) => self.rollback_prepared(m),
        }
    }

    fn rollback_prepared(&mut self, m: RollbackPrepared<'_>) {
        let prepared = self.prepared.remove(&m.xid).unwrap().prepared.unwrap();
        let told = (m.gid, m.prepare_end_lsn, m.prepare_time);
        assert_eq!(told, (prepared.gid.as_str(), prepared.end_lsn, prepared.time));
        assert!(m.rollback_end_lsn > m.prepare_end_lsn && m.rollback_time >= m.prepare_time);
    }

    fn begin(&mut self, xid: Xid, open: Open) {
        assert!(self.open.is_none() && self.block.is_none());
        self.open = Some((xid, open));
    }

    fn commit(&mut self, commit: Commit) {
        let (xid, open) = self.open.take().unwrap();
        let begin = self.begin.take().unwrap();
        let told = (begin.xid, begin.final_lsn, begin.commit_time);
        assert_eq!(told, (xid, commit.commit_lsn, commit.commit_time));
        self.done(xid, (commit.commit_lsn, commit.end_lsn, commit.commit_time), open);
    }

    fn done(&mut self, xid: Xid, at: (Lsn, Lsn, PgTimestamp), open: Open) {
        let (commit_lsn, end_lsn, time) = at;
        assert!(commit_lsn < end_lsn && end_lsn < FAR);
        assert!(self.committed.last().is_none_or(|before| before.end_lsn <= commit_lsn));
        if open.changes.is_empty() {
            self.empty += 1;
            return;
        }
        let changes = open.changes.into_iter().map(|(_, change)| change).collect();
        let origin = open.origin;
        self.committed.push(Transaction { xid, commit_lsn, end_lsn, time, origin, changes });
    }

    fn current(&mut self) -> &mut Open {
        match self.block {
            Some(xid) => self.streamed.get_mut(&xid).unwrap(),
            None => &mut self.open.as_mut().unwrap().1,
        }
    }

    /// A table as it was when the change was made. A streamed transaction is told of its tables
    /// anew, and again after each part of it that was rolled back.
    fn table(&mut self, oid: Oid) -> Table {
        let tables = match self.block {
            Some(xid) => &self.streamed[&xid].tables,
            None => &self.tables,
        };
        tables.get(&oid).unwrap_or_else(|| panic!("nothing was told of table {oid}")).clone()
    }

    fn change(&mut self, xid: Option<Xid>, change: Change) {
        assert_eq!(xid.is_some(), self.block.is_some());
        self.current().changes.push((xid.unwrap_or_default(), change));
    }

    fn truncate(&mut self, m: Truncate<'_>) {
        let tables = m.relations.map(|oid| self.table(oid)).collect();
        let (cascade, restart) = (m.cascade, m.restart_identity);
        self.change(m.xid, Change::Truncate { tables, cascade, restart });
    }

    fn message(&mut self, m: LogicalMessage<'_>) {
        let (prefix, content) = (m.prefix.to_owned(), m.content.to_vec());
        let change = Change::Message { lsn: m.lsn, prefix, content };
        if m.transactional {
            self.change(m.xid, change);
        } else {
            assert!(self.block.is_none() && self.open.is_none(), "{change:?}");
            self.loose.push(change);
        }
    }

    fn stream_start(&mut self, m: StreamStart) {
        assert!(self.open.is_none() && self.block.is_none());
        assert_eq!(m.first, !self.streamed.contains_key(&m.xid));
        self.streamed.entry(m.xid).or_default();
        self.block = Some(m.xid);
    }

    fn stream_abort(&mut self, m: StreamAbort) {
        assert!(m.info.is_none_or(|info| info.lsn < FAR && info.time > RECENTLY), "{m:?}");
        if m.xid == m.subxid {
            self.unasked += usize::from(self.streamed.remove(&m.xid).is_none());
        } else if let Some(open) = self.streamed.get_mut(&m.xid) {
            open.changes.retain(|(xid, _)| *xid != m.subxid);
            open.tables.clear();
        } else {
            self.unasked += 1;
        }
    }

    /// Nothing may be left of a stream whose every transaction has ended.
    pub(super) fn assert_at_rest(&self) {
        assert!(self.open.is_none() && self.block.is_none());
        assert!(self.prepared.is_empty(), "{:?}", self.prepared.keys());
        assert!(self.streamed.is_empty(), "{:?}", self.streamed.keys());
    }
}

fn old(old: OldTuple<'_>) -> Old {
    match old {
        OldTuple::Key(tuple) => Old::Key(row(tuple)),
        OldTuple::Full(tuple) => Old::Full(row(tuple)),
    }
}

fn row(tuple: Tuple<'_>) -> Row {
    let value = |value| match value {
        TupleValue::Null => Value::Null,
        TupleValue::Unchanged => Value::Unchanged,
        TupleValue::Text(bytes) => Value::Text(bytes.to_vec()),
        TupleValue::Binary(bytes) => Value::Binary(bytes.to_vec()),
    };
    tuple.values().map(value).collect()
}
