//! The messages that the decoder's benches read: shared with `benches/peers`.
//!
//! Each input is one buffer, as a socket would fill it, with about a thousand different messages:
//! values of varying length, so that what is measured is not one memorised message.

use pghost::{
    pg::{Lsn, Oid, PgTimestamp, Xid},
    pgoutput::{
        Begin, Commit, Delete, Insert, Message, OldTuple, Relation, RelationColumn,
        ReplicaIdentity, TupleValue, Update,
        encode::{ColumnsBuf, TupleBuf, to_bytes},
    },
};

const ORDERS: Oid = Oid(16_385);
const MESSAGES: u32 = 1000;

/// Messages of one shape.
pub(crate) struct Input {
    /// What they are.
    pub(crate) name: &'static str,
    /// All of them, one behind the other.
    pub(crate) bytes: Vec<u8>,
    /// Where each ends.
    pub(crate) ends: Vec<usize>,
}

impl Input {
    const fn new(name: &'static str) -> Self {
        Self { name, bytes: Vec::new(), ends: Vec::new() }
    }

    fn push(&mut self, message: &Message<'_>) {
        self.bytes.extend(to_bytes(message));
        self.ends.push(self.bytes.len());
    }

    /// Where each message is.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = std::ops::Range<usize>> {
        let starts = std::iter::once(&0).chain(&self.ends);
        starts.zip(&self.ends).map(|(&start, &end)| start..end)
    }
}

/// All inputs, in the order in which they are shown.
pub(crate) fn all() -> Vec<Input> {
    vec![
        narrow(),
        nine("nine columns, text", nine_text),
        nine("nine columns, binary", nine_binary),
        wide(),
        mixed(),
    ]
}

/// Inserts of one int.
fn narrow() -> Input {
    let mut input = Input::new("one int");
    for i in 0..MESSAGES {
        let text = (i * 7919).to_string();
        let new = TupleBuf::from_iter([TupleValue::Text(text.as_bytes())]);
        input.push(&insert(&new));
    }
    input
}

/// Updates of nine columns without an old row.
fn nine(name: &'static str, row: fn(u32) -> TupleBuf) -> Input {
    let mut input = Input::new(name);
    for i in 0..MESSAGES {
        input.push(&update(None, &row(i)));
    }
    input
}

/// Updates of sixty columns, some null, some unchanged.
fn wide() -> Input {
    let mut input = Input::new("sixty columns, text");
    for i in 0..MESSAGES {
        let texts: Vec<String> = (0..60).map(|c| words(i * 61 + c, 24)).collect();
        let new = texts.iter().zip(0..).map(|(text, c)| match c % 10 {
            8 => TupleValue::Null,
            9 if i % 4 == 0 => TupleValue::Unchanged,
            _ => TupleValue::Text(text.as_bytes()),
        });
        input.push(&update(None, &new.collect()));
    }
    input
}

/// Transactions of one to twelve changes: mostly updates, some with an old key, then inserts and
/// deletes; now and then the relation again.
fn mixed() -> Input {
    let mut input = Input::new("mixed transactions");
    let columns = nine_columns();
    let mut change = 0;
    while u32::try_from(input.ends.len()).is_ok_and(|n| n < MESSAGES) {
        let lsn = u64::from(change) * 512 + 0x1_0000;
        input.push(&Message::Begin(Begin {
            final_lsn: Lsn(lsn),
            commit_time: PgTimestamp(776_000_000_000_000),
            xid: Xid(change + 700),
        }));
        if change % 5 == 0 {
            input.push(&Message::Relation(Relation {
                xid: None,
                oid: ORDERS,
                namespace: "public",
                name: "orders",
                replica_identity: ReplicaIdentity::Default,
                columns: columns.columns(),
            }));
        }
        for _ in 0..1 + noise(change) % 12 {
            change += 1;
            push_change(&mut input, change);
        }
        input.push(&Message::Commit(Commit {
            commit_lsn: Lsn(lsn),
            end_lsn: Lsn(lsn + 48),
            commit_time: PgTimestamp(776_000_000_000_000),
        }));
    }
    input
}

fn push_change(input: &mut Input, change: u32) {
    let row = nine_text(change);
    let id = change.to_string();
    let mut key = TupleBuf::from_iter([TupleValue::Text(id.as_bytes())]);
    (0..8).for_each(|_| key.push(TupleValue::Null));
    match noise(change) % 10 {
        0 => input.push(&Message::Delete(Delete {
            xid: None,
            relation: ORDERS,
            old: OldTuple::Key(key.tuple()),
        })),
        1 => input.push(&update(Some(&key), &row)),
        2 | 3 => input.push(&insert(&row)),
        _ => input.push(&update(None, &row)),
    }
}

fn insert(new: &TupleBuf) -> Message<'_> {
    Message::Insert(Insert { xid: None, relation: ORDERS, new: new.tuple() })
}

fn update<'a>(key: Option<&'a TupleBuf>, new: &'a TupleBuf) -> Message<'a> {
    Message::Update(Update {
        xid: None,
        relation: ORDERS,
        old: key.map(|key| OldTuple::Key(key.tuple())),
        new: new.tuple(),
    })
}

/// bigint, uuid, text, numeric, text[], jsonb, timestamptz, timestamptz, text.
fn nine_text(i: u32) -> TupleBuf {
    let n = noise(i);
    let values = [
        (u64::from(i) * 3037).to_string(),
        format!("{n:08x}-4c1e-4c6f-9b1d-{:012x}", u64::from(n) * 31),
        words(n, 38),
        format!("{}.{:02}", n % 100_000, n % 100),
        format!("{{{},{}}}", words(n + 1, 7), words(n + 2, 7)),
        format!("{{\"sku\": \"{}\", \"qty\": {}}}", words(n + 3, 16), n % 50),
        format!("2024-03-04 12:{:02}:{:02}.{:06}+00", n % 60, i % 60, i),
        format!("2024-03-05 08:{:02}:{:02}.{:06}+00", i % 60, n % 60, i),
        ["new", "paid", "shipped", "returned"][n as usize % 4].to_owned(),
    ];
    values.iter().map(|value| TupleValue::Text(value.as_bytes())).collect()
}

/// The same row as the send functions make it.
fn nine_binary(i: u32) -> TupleBuf {
    let n = noise(i);
    let text = words(n, 38);
    let (first, second) = (words(n + 1, 7), words(n + 2, 7));
    let mut array = Vec::new();
    for word in [1, 0, 25, 2, 1] {
        array.extend_from_slice(&i32::to_be_bytes(word));
    }
    for word in [&first, &second] {
        array.extend_from_slice(&u32::try_from(word.len()).unwrap_or(0).to_be_bytes());
        array.extend_from_slice(word.as_bytes());
    }
    let json = format!("\x01{{\"sku\": \"{}\", \"qty\": {}}}", words(n + 3, 16), n % 50);
    let uuid = u128::from(n) << 64 | u128::from(i);
    let moment = 776_000_000_000_000 + u64::from(n);
    [
        &(u64::from(i) * 3037).to_be_bytes()[..],
        &uuid.to_be_bytes(),
        text.as_bytes(),
        // 1234.56: three digits of base 10,000, weight, sign, scale, digits.
        &[0, 2, 0, 0, 0, 0, 0, 2, 4, 0xd2, 0x15, 0xe0],
        &array,
        json.as_bytes(),
        &moment.to_be_bytes(),
        &(moment + 60_000_000).to_be_bytes(),
        ["new", "paid", "shipped", "returned"][n as usize % 4].as_bytes(),
    ]
    .map(TupleValue::Binary)
    .into_iter()
    .collect()
}

fn nine_columns() -> ColumnsBuf {
    let names = ["id", "ref", "note", "total", "tags", "body", "made", "seen", "state"];
    let types = [20, 2950, 25, 1700, 1009, 3802, 1184, 1184, 25];
    let columns = names.iter().zip(types).map(|(name, oid)| RelationColumn {
        part_of_key: oid == 20,
        name,
        type_oid: Oid(oid),
        type_modifier: -1,
    });
    columns.collect()
}

/// Text of about `length` bytes, a few more or less.
fn words(seed: u32, length: usize) -> String {
    let n = noise(seed);
    let length = length + n as usize % 8;
    "the quick brown fox jumps over the lazy dog"
        .chars()
        .cycle()
        .skip(n as usize % 20)
        .take(length - 3)
        .collect()
}

/// The same numbers in every run, without a pattern that a branch predictor could learn.
const fn noise(seed: u32) -> u32 {
    let mut x = seed.wrapping_mul(0x9e37_79b9) ^ 0x5bd1_e995;
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    x % 1_000_000
}
