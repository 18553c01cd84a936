//! From a message to its bytes: the inverse of decoding, written from the same layouts.
//!
//! For tests, benches, fuzzing and simulation only: pghost never sends these messages. So it
//! checks nothing that the decoder checks, and it allocates; text with a zero byte inside, or
//! more than 65,535 columns, come out as something else.

use super::{
    Message, Oids, OldTuple, Prepare, Relation, RelationColumn, RelationColumns, RollbackPrepared,
    Truncate, Tuple, TupleValue,
};
use crate::{
    pg::{Oid, Xid},
    wire::{Writer, Writing},
};

/// The bytes of one message.
#[must_use]
pub fn to_bytes(message: &Message<'_>) -> Vec<u8> {
    let mut writer = Writer::new();
    let mut out = writer.untagged();
    write(message, &mut out);
    out.finish();
    // The messages have no length of their own: XLogData's frame has it.
    let framed = writer.buffer();
    framed.get(4..).map(<[u8]>::to_vec).unwrap_or_default()
}

/// Writes a message into a frame that is being built.
pub fn write(message: &Message<'_>, out: &mut Writing<'_>) {
    out.u8(message.kind().tag());
    match message {
        Message::Begin(m) => {
            out.u64(m.final_lsn.0).i64(m.commit_time.0).u32(m.xid.0);
        }
        Message::Commit(m) => {
            out.u8(0).u64(m.commit_lsn.0).u64(m.end_lsn.0);
            out.i64(m.commit_time.0);
        }
        Message::Origin(m) => {
            out.u64(m.commit_lsn.0).cstr(m.name);
        }
        Message::Relation(m) => relation(m, out),
        Message::Type(m) => {
            xid(m.xid, out).u32(m.oid.0);
            namespace(m.namespace, out).cstr(m.name);
        }
        Message::Insert(m) => {
            xid(m.xid, out).u32(m.relation.0);
            tuple(b'N', m.new, out);
        }
        Message::Update(m) => {
            xid(m.xid, out).u32(m.relation.0);
            if let Some(old) = m.old {
                old_tuple(old, out);
            }
            tuple(b'N', m.new, out);
        }
        Message::Delete(m) => {
            xid(m.xid, out).u32(m.relation.0);
            old_tuple(m.old, out);
        }
        Message::Truncate(m) => truncate(m, out),
        Message::Logical(m) => {
            xid(m.xid, out).u8(u8::from(m.transactional)).u64(m.lsn.0);
            out.cstr(m.prefix).value(Some(m.content));
        }
        Message::StreamStart(m) => {
            out.u32(m.xid.0).u8(u8::from(m.first));
        }
        Message::StreamStop => {}
        Message::StreamCommit(m) => {
            out.u32(m.xid.0).u8(0);
            out.u64(m.commit_lsn.0).u64(m.end_lsn.0);
            out.i64(m.commit_time.0);
        }
        Message::StreamAbort(m) => {
            out.u32(m.xid.0).u32(m.subxid.0);
            if let Some(info) = m.info {
                out.u64(info.lsn.0).i64(info.time.0);
            }
        }
        Message::BeginPrepare(m) => {
            out.u64(m.prepare_lsn.0).u64(m.end_lsn.0);
            out.i64(m.prepare_time.0).u32(m.xid.0).cstr(m.gid);
        }
        Message::Prepare(m) | Message::StreamPrepare(m) => prepare(m, out),
        Message::CommitPrepared(m) => {
            out.u8(0).u64(m.commit_lsn.0).u64(m.end_lsn.0);
            out.i64(m.commit_time.0).u32(m.xid.0).cstr(m.gid);
        }
        Message::RollbackPrepared(m) => rollback_prepared(m, out),
    }
}

fn relation(m: &Relation<'_>, out: &mut Writing<'_>) {
    xid(m.xid, out).u32(m.oid.0);
    namespace(m.namespace, out).cstr(m.name);
    out.u8(m.replica_identity.letter());
    out.u16(u16::try_from(m.columns.len()).unwrap_or(u16::MAX));
    out.bytes(m.columns.as_bytes());
}

fn truncate(m: &Truncate<'_>, out: &mut Writing<'_>) {
    let cascade = if m.cascade { Truncate::CASCADE } else { 0 };
    let restart = if m.restart_identity { Truncate::RESTART_IDENTITY } else { 0 };
    xid(m.xid, out).u32(u32::try_from(m.relations.len()).unwrap_or(u32::MAX));
    out.u8(cascade | restart).bytes(m.relations.as_bytes());
}

fn prepare(m: &Prepare<'_>, out: &mut Writing<'_>) {
    out.u8(0).u64(m.prepare_lsn.0).u64(m.end_lsn.0);
    out.i64(m.prepare_time.0).u32(m.xid.0).cstr(m.gid);
}

fn rollback_prepared(m: &RollbackPrepared<'_>, out: &mut Writing<'_>) {
    out.u8(0).u64(m.prepare_end_lsn.0).u64(m.rollback_end_lsn.0);
    out.i64(m.prepare_time.0).i64(m.rollback_time.0);
    out.u32(m.xid.0).cstr(m.gid);
}

fn old_tuple(old: OldTuple<'_>, out: &mut Writing<'_>) {
    match old {
        OldTuple::Key(old) => tuple(b'K', old, out),
        OldTuple::Full(old) => tuple(b'O', old, out),
    }
}

fn tuple(mark: u8, tuple: Tuple<'_>, out: &mut Writing<'_>) {
    out.u8(mark);
    out.u16(u16::try_from(tuple.len()).unwrap_or(u16::MAX));
    out.bytes(tuple.as_bytes());
}

fn xid<'w, 'b>(xid: Option<Xid>, out: &'w mut Writing<'b>) -> &'w mut Writing<'b> {
    match xid {
        Some(xid) => out.u32(xid.0),
        None => out,
    }
}

fn namespace<'w, 'b>(name: &str, out: &'w mut Writing<'b>) -> &'w mut Writing<'b> {
    out.cstr(if name == "pg_catalog" { "" } else { name })
}

/// A [`Tuple`] made of values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TupleBuf {
    columns: u16,
    bytes: Vec<u8>,
}

impl TupleBuf {
    /// Adds a column.
    pub fn push(&mut self, value: TupleValue<'_>) {
        let kind = match value {
            TupleValue::Null => b'n',
            TupleValue::Unchanged => b'u',
            TupleValue::Text(_) => b't',
            TupleValue::Binary(_) => b'b',
        };
        self.columns = self.columns.saturating_add(1);
        self.bytes.push(kind);
        if let Some(bytes) = value.bytes() {
            let length = i32::try_from(bytes.len()).unwrap_or(i32::MAX);
            self.bytes.extend_from_slice(&length.to_be_bytes());
            self.bytes.extend_from_slice(bytes);
        }
    }

    /// The view that messages hold.
    #[must_use]
    pub fn tuple(&self) -> Tuple<'_> {
        Tuple::from_parts(self.columns, &self.bytes)
    }
}

impl<'a> FromIterator<TupleValue<'a>> for TupleBuf {
    fn from_iter<I: IntoIterator<Item = TupleValue<'a>>>(values: I) -> Self {
        let mut buf = Self::default();
        values.into_iter().for_each(|value| buf.push(value));
        buf
    }
}

/// [`RelationColumns`] made of columns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ColumnsBuf {
    columns: u16,
    bytes: Vec<u8>,
}

impl ColumnsBuf {
    /// Adds a column.
    pub fn push(&mut self, column: RelationColumn<'_>) {
        self.columns = self.columns.saturating_add(1);
        self.bytes.push(u8::from(column.part_of_key));
        self.bytes.extend_from_slice(column.name.as_bytes());
        self.bytes.push(0);
        self.bytes.extend_from_slice(&column.type_oid.0.to_be_bytes());
        self.bytes.extend_from_slice(&column.type_modifier.to_be_bytes());
    }

    /// The view that messages hold.
    #[must_use]
    pub fn columns(&self) -> RelationColumns<'_> {
        RelationColumns::from_parts(self.columns, &self.bytes)
    }
}

impl<'a> FromIterator<RelationColumn<'a>> for ColumnsBuf {
    fn from_iter<I: IntoIterator<Item = RelationColumn<'a>>>(columns: I) -> Self {
        let mut buf = Self::default();
        columns.into_iter().for_each(|column| buf.push(column));
        buf
    }
}

/// [`Oids`] made of oids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OidsBuf(Vec<[u8; 4]>);

impl OidsBuf {
    /// The view that messages hold.
    #[must_use]
    pub fn oids(&self) -> Oids<'_> {
        Oids::over(self.0.as_flattened())
    }
}

impl FromIterator<Oid> for OidsBuf {
    fn from_iter<I: IntoIterator<Item = Oid>>(oids: I) -> Self {
        Self(oids.into_iter().map(|oid| oid.0.to_be_bytes()).collect())
    }
}
