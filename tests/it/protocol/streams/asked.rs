//! What servers make of what is asked: which streams they start, and who gets prepared
//! transactions.

use std::{sync::Arc, time::Duration};

use pghost::{
    cluster::Server,
    conn::{Connection, Error, SessionKind},
    pg::Ident,
    pgoutput::{DecodeError, MessageKind, ProtoVersion, Streaming},
    replication::{
        self, DurableLsn, NewSlot, Origins, ReplicationStream, StreamMessage, StreamOptions,
        create_slot,
    },
};

use super::{Slot, make_slot};
use crate::support::{Database, nobody_reads, server, versions_to_test};

async fn start(
    database: &Database,
    slot: &Slot,
    options: &StreamOptions,
) -> Result<ReplicationStream, Error> {
    // Who was refused has heard of it before its walsender lets go of the slot.
    nobody_reads(&database.config(), &slot.name).await;
    let walsender = Connection::connect(&database.config(), SessionKind::Replication).await?;
    let from = DurableLsn::assertion(slot.from);
    replication::start(walsender, &slot.name, options, from).await
}

fn publication() -> Vec<Ident> {
    vec![Ident::new("p")]
}

/// Every combination of the options that servers differ in.
fn all_options() -> Vec<StreamOptions> {
    let mut all = Vec::new();
    for version in [ProtoVersion::V1, ProtoVersion::V2, ProtoVersion::V3, ProtoVersion::V4] {
        for streaming in [Streaming::Off, Streaming::On, Streaming::Parallel] {
            for (two_phase, origins) in
                [(false, Origins::Any), (false, Origins::None), (true, Origins::Any)]
            {
                let plain = StreamOptions::plain(publication());
                all.push(StreamOptions { version, streaming, two_phase, origins, ..plain });
            }
        }
    }
    all
}

#[tokio::test]
async fn streams_are_started_by_the_servers_that_are_said_to_know_them_and_by_no_other() {
    for binaries in versions_to_test() {
        let server = server(&binaries);
        let database = Database::create(&server, "asked").await;
        database.sql("CREATE PUBLICATION p FOR ALL TABLES").await;
        let major = server.version().major();
        let slots = [
            make_slot(&database, &format!("{}_plain", database.name), false).await,
            make_slot(&database, &format!("{}_two", database.name), major >= 15).await,
        ];
        for options in all_options() {
            let slot = &slots[usize::from(options.two_phase)];
            let started = start(&database, slot, &options).await;
            let known = options.check(server.version());
            assert_eq!(started.is_ok(), known.is_ok(), "{major} {options}: {known:?}, {started:?}");
            match started {
                Ok(stream) => stream.close().await.unwrap().close().await,
                Err(error) => assert!(error.sqlstate().is_some(), "{options}: {error}"),
            }
        }
        let newest = StreamOptions::newest_of(server.version(), publication());
        let stream = start(&database, &slots[1], &newest).await.unwrap();
        stream.close().await.unwrap().close().await;
        let mut walsender =
            Connection::connect(&database.config(), SessionKind::Replication).await.unwrap();
        let name = format!("{}_late", database.name);
        let late = create_slot(&mut walsender, NewSlot { name: &name, two_phase: true }).await;
        assert_eq!(late.is_ok(), major >= 15, "{late:?}");
        walsender.close().await;
        let drop = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots
                     WHERE database = current_database()";
        database.sql(drop).await;
    }
}

/// The kinds of the messages of a slot, up to the commit of the table that tells of its end.
async fn kinds(
    database: &Database,
    slot: &Slot,
    options: &StreamOptions,
) -> Result<Vec<MessageKind>, DecodeError> {
    let mut stream = start(database, slot, options).await.unwrap();
    let mut decoder = stream.decoder();
    let mut kinds = Vec::new();
    let decoded = 'reading: loop {
        let chunk = tokio::time::timeout(Duration::from_mins(3), stream.chunk()).await;
        for message in chunk.unwrap().unwrap().messages() {
            let StreamMessage::XLogData { payload, .. } = message.unwrap() else { continue };
            match decoder.decode(payload) {
                Ok(message) => kinds.push(message.kind()),
                Err(error) => break 'reading Err(error),
            }
            if kinds.last() == Some(&MessageKind::Truncate) {
                break 'reading Ok(kinds);
            }
        }
    };
    stream.close().await.unwrap().close().await;
    decoded
}

#[tokio::test]
async fn streams_from_a_slot_for_prepared_transactions_have_them_whether_they_ask_or_not() {
    for binaries in versions_to_test() {
        if binaries.version.major() < 15 {
            continue;
        }
        let settings = [("max_prepared_transactions", "10")];
        let server = Arc::new(Server::start(&binaries, &settings).unwrap());
        let database = Database::create(&server, "asked").await;
        database.sql("CREATE TABLE t (id int); CREATE PUBLICATION p FOR TABLE t").await;
        let plain = make_slot(&database, "plain", false).await;
        let two_phase = make_slot(&database, "two", true).await;
        database.sql("BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'one'").await;
        database.sql("COMMIT PREPARED 'one'").await;
        database.sql("TRUNCATE t").await;

        use MessageKind as Kind;
        let prepared = [Kind::BeginPrepare, Kind::Relation, Kind::Insert, Kind::Prepare];
        let unasked =
            StreamOptions { version: ProtoVersion::V3, ..StreamOptions::plain(publication()) };
        let kinds_of = kinds(&database, &two_phase, &unasked).await.unwrap();
        assert_eq!(kinds_of[..4], prepared);
        assert_eq!(kinds_of[4], Kind::CommitPrepared);
        // Under version 1, too, which has no such message: the decoder does not let it pass.
        let old = StreamOptions::plain(publication());
        let error = kinds(&database, &two_phase, &old).await.unwrap_err();
        let (message, version) = (Kind::BeginPrepare, ProtoVersion::V1);
        assert_eq!(error, DecodeError::TooNew { message, version });

        // The other way round: who asks turns an ordinary slot into one for prepared ones.
        let whole = [Kind::Begin, Kind::Relation, Kind::Insert, Kind::Commit];
        assert_eq!(kinds(&database, &plain, &unasked).await.unwrap()[..4], whole);
        let is_for_them = "SELECT two_phase FROM pg_replication_slots WHERE slot_name = 'plain'";
        assert_eq!(database.value(is_for_them).await, "f");
        let asked = StreamOptions { two_phase: true, ..unasked.clone() };
        kinds(&database, &plain, &asked).await.unwrap();
        assert_eq!(database.value(is_for_them).await, "t");
        let kinds = kinds(&database, &plain, &unasked).await.unwrap();
        assert_eq!(kinds[..4], prepared, "{}", server.version());
    }
}
