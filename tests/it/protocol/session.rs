//! Sessions under strain on real servers: more replies than any buffer holds, errors in mid-COPY,
//! requests that are cancelled or abandoned, and what servers say unasked.

use std::{ops::ControlFlow, time::Duration};

use pghost::{
    conn::{Connection, Error, Pipeline, SessionKind, WINDOW_REPLIES},
    pg::{Oid, SqlState},
    wire::{Format, ProtocolVersion},
};
use tokio::time::timeout;

use crate::support::{
    Database, limit,
    login_servers::{PASSWORD, Secure, connect, of, settings},
    selected, server, versions_to_test,
};

/// What is not done in a time that is far longer than anything here takes hangs.
async fn patiently<T>(work: impl Future<Output = T>) -> T {
    limit::of(Box::pin(work)).await.expect("it hangs")
}

/// A database of each release under test.
async fn on_each(mut test: impl AsyncFnMut(&Database)) {
    for binaries in versions_to_test() {
        let database = Database::create(&server(&binaries), "session").await;
        test(&database).await;
    }
}

/// Queues as fast as there is room, and takes what has completed when there is none.
async fn pipeline_all(
    pipeline: &mut Pipeline,
    count: usize,
    mut queue: impl FnMut(&mut Pipeline, usize),
) -> Result<u64, Error> {
    let (mut queued, mut completed, mut rows) = (0, 0, 0);
    while completed < count {
        if queued < count && pipeline.has_room() {
            queue(pipeline, queued);
            queued += 1;
        } else {
            rows += pipeline.completed().await?;
            completed += 1;
        }
    }
    Ok(rows)
}

#[tokio::test]
async fn a_hundred_thousand_pipelined_statements_complete() {
    const STATEMENTS: usize = 100_000;
    // 100,000 replies of 1 kB are 100 MB: a socket's buffers hold a few.
    on_each(async |database| {
        let connection = database.connect().await;
        let mut pipeline = Pipeline::new(connection).unwrap();
        pipeline.prepare("echo", "SELECT repeat($1, 1000)", &[Oid(25)]);
        let all = pipeline_all(&mut pipeline, STATEMENTS, |pipeline, n| {
            let value = (n % 10).to_string();
            pipeline.execute("echo", [Format::Text].into_iter(), |bind| {
                bind.value(Some(value.as_bytes()));
            });
        });
        assert_eq!(patiently(all).await.unwrap(), STATEMENTS as u64);
        let mut connection = patiently(pipeline.close()).await.unwrap();
        assert_eq!(connection.query("SELECT 1").await.unwrap().rows().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn statements_larger_than_every_buffer_in_both_directions_complete() {
    // 200 statements of 1 MB with replies of 1 MB: both sides want to write at once.
    on_each(async |database| {
        let connection = database.connect().await;
        let mut pipeline = Pipeline::new(connection).unwrap();
        pipeline.prepare("echo", "SELECT $1", &[Oid(25)]);
        let value = vec![b'x'; 1_000_000];
        let all = pipeline_all(&mut pipeline, 200, |pipeline, _| {
            pipeline.execute("echo", [Format::Text].into_iter(), |bind| {
                bind.value(Some(&value));
            });
        });
        assert_eq!(patiently(all).await.unwrap(), 200);
        patiently(pipeline.close()).await.unwrap().close().await;
    })
    .await;
}

#[tokio::test]
async fn an_error_in_a_pipeline_voids_the_rest_up_to_the_next_sync() {
    on_each(async |database| {
        let mut pipeline = Pipeline::new(database.connect().await).unwrap();
        pipeline.prepare("divide", "SELECT 1 / $1", &[Oid(23)]);
        let divide = |pipeline: &mut Pipeline, by: &str| {
            pipeline.execute("divide", [Format::Text].into_iter(), |bind| {
                bind.value(Some(by.as_bytes()));
            });
        };
        for by in ["1", "0", "1"] {
            divide(&mut pipeline, by);
        }
        assert_eq!(patiently(pipeline.completed()).await.unwrap(), 1);
        let error = patiently(pipeline.completed()).await.unwrap_err();
        assert_eq!(error.sqlstate().unwrap().as_str(), "22012");
        // The server does nothing up to a Sync, and waiting for it would be for ever.
        divide(&mut pipeline, "1");
        let error = patiently(pipeline.completed()).await.unwrap_err();
        assert!(matches!(error, Error::Voided), "{error:?}");
        pipeline.sync();
        divide(&mut pipeline, "1");
        // The Sync, then the statement behind it.
        assert_eq!(patiently(pipeline.completed()).await.unwrap(), 0);
        assert_eq!(patiently(pipeline.completed()).await.unwrap(), 1);
        patiently(pipeline.close()).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn the_window_is_bounded() {
    on_each(async |database| {
        let mut pipeline = Pipeline::new(database.connect().await).unwrap();
        pipeline.prepare("nothing", "SELECT", &[]);
        let mut queued = 0;
        while pipeline.has_room() {
            pipeline.execute("nothing", std::iter::empty(), |_| {});
            queued += 1;
        }
        assert!(queued <= WINDOW_REPLIES, "{queued}");
        for _ in 0..queued {
            patiently(pipeline.completed()).await.unwrap();
        }
        assert!(pipeline.has_room());
    })
    .await;
}

/// CopyData frames of rows with one int each.
fn frames_of(rows: std::ops::Range<u32>) -> Vec<u8> {
    let mut writer = pghost::wire::Writer::new();
    for row in rows {
        writer.copy_data(format!("{row}\n").as_bytes());
    }
    writer.buffer().to_vec()
}

/// Sends rows without end until the server has something to say.
async fn copy_until(
    connection: &mut Connection,
    mut more: impl FnMut(u32) -> ControlFlow<()>,
) -> Result<u64, Error> {
    connection.queue_query("COPY t FROM STDIN");
    let mut copy = connection.copy_in().await?;
    for chunk in 0.. {
        if more(chunk).is_break() {
            break;
        }
        copy.forward(&frames_of(chunk * 10_000..(chunk + 1) * 10_000)).await?;
    }
    copy.finish().await
}

#[tokio::test]
async fn a_copy_in_that_the_server_refuses_half_way_ends_with_its_error() {
    on_each(async |database| {
        let mut connection = database.connect().await;
        connection.query("CREATE TABLE t (a int CHECK (a <> 500000))").await.unwrap();
        let endless = |_| ControlFlow::Continue(());
        let error = patiently(copy_until(&mut connection, endless)).await.unwrap_err();
        assert_eq!(error.sqlstate().unwrap().as_str(), "23514");
        // Ready again, and nothing of it is there.
        let rows = patiently(connection.query("SELECT FROM t")).await.unwrap();
        assert_eq!(rows.rows().len(), 0);
    })
    .await;
}

#[tokio::test]
async fn a_copy_in_whose_server_talks_without_end_completes() {
    // Each row is answered by a notice of 1 kB: 50,000 rows are 50 MB that nobody asked for.
    on_each(async |database| {
        let mut connection = database.connect().await;
        connection
            .query(
                "CREATE TABLE t (a int);
                 CREATE FUNCTION talk() RETURNS trigger LANGUAGE plpgsql AS
                     $$ BEGIN RAISE NOTICE '%', repeat('x', 1000); RETURN NEW; END $$;
                 CREATE TRIGGER talk BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION talk()",
            )
            .await
            .unwrap();
        let five =
            |chunk| if chunk < 5 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) };
        let rows = patiently(copy_until(&mut connection, five)).await.unwrap();
        assert_eq!(rows, 50_000);
        assert_eq!(connection.take_notices().len(), pghost::conn::NOTICES_MAX);
    })
    .await;
}

#[tokio::test]
async fn a_copy_in_that_is_failed_or_dropped_leaves_nothing() {
    on_each(async |database| {
        let mut connection = database.connect().await;
        connection.query("CREATE TABLE t (a int)").await.unwrap();
        connection.queue_query("COPY t FROM STDIN");
        let mut copy = connection.copy_in().await.unwrap();
        copy.forward(&frames_of(0..10)).await.unwrap();
        patiently(copy.fail("changed our mind")).await.unwrap();
        assert_eq!(connection.query("SELECT FROM t").await.unwrap().rows().len(), 0);

        connection.queue_query("COPY t FROM STDIN");
        drop(connection.copy_in().await.unwrap());
        let error = patiently(connection.query("SELECT 1")).await.unwrap_err();
        assert!(matches!(error, Error::Poisoned), "{error:?}");
        drop(connection);
        assert_eq!(database.value("SELECT count(*) FROM t").await, "0");
    })
    .await;
}

#[tokio::test]
async fn an_error_in_mid_copy_out_ends_it_and_the_session_goes_on() {
    on_each(async |database| {
        let mut connection = database.connect().await;
        connection.queue_query(
            "COPY (SELECT 1 / (100000 - i) FROM generate_series(1, 200000) i) TO STDOUT",
        );
        let mut copy = connection.copy_out().await.unwrap();
        let error = loop {
            match patiently(copy.next()).await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("it came to its end"),
                Err(error) => break error,
            }
        };
        assert_eq!(error.sqlstate().unwrap().as_str(), "22012");
        assert_eq!(connection.query("SELECT 1").await.unwrap().rows().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn an_abandoned_request_poisons_the_connection_and_hangs_nothing() {
    on_each(async |database| {
        let mut connection = database.connect().await;
        let short = Duration::from_millis(20);
        assert!(timeout(short, connection.query("SELECT pg_sleep(60)")).await.is_err());
        let error = patiently(connection.query("SELECT 1")).await.unwrap_err();
        assert!(matches!(error, Error::Poisoned), "{error:?}");
        assert!(matches!(Pipeline::new(connection), Err(Error::Poisoned)));
        // The server would sleep on, beside the next test.
        let end = "SELECT count(pg_terminate_backend(pid, 60000)) FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid()";
        database.sql(end).await;
    })
    .await;
}

#[tokio::test]
async fn a_statement_is_cancelled_and_its_session_goes_on() {
    on_each(async |database| {
        let mut connection = database.connect().await;
        let token = connection.cancel_token().unwrap();
        let (result, ()) = patiently(async {
            tokio::join!(connection.query("SELECT pg_sleep(60)"), async {
                until_busy(database).await;
                token.cancel().await.unwrap();
            })
        })
        .await;
        assert_eq!(result.unwrap_err().sqlstate(), Some(SqlState::QUERY_CANCELED));
        assert_eq!(connection.query("SELECT 1").await.unwrap().rows().len(), 1);
    })
    .await;
}

/// Waits until the sleeper sleeps: a request that comes before it would cancel nothing.
async fn until_busy(database: &Database) {
    crate::support::moments::until(
        database,
        "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event = 'PgSleep'
            AND datname = current_database()",
    )
    .await;
}

#[tokio::test]
async fn notices_notifications_and_settings_are_told() {
    on_each(async |database| {
        let mut connection = database.connect().await;
        connection
            .query("LISTEN jobs; DO $$ BEGIN RAISE WARNING 'look out'; END $$; NOTIFY jobs, 'one'")
            .await
            .unwrap();
        let notices = connection.take_notices();
        assert_eq!(notices.len(), 1);
        assert_eq!(
            (notices[0].severity.as_str(), notices[0].message.as_str()),
            ("WARNING", "look out")
        );
        database.sql("NOTIFY jobs, 'two'").await;
        connection.query("SET application_name = 'told'").await.unwrap();
        assert_eq!(connection.parameter("application_name"), Some("told"));
        let told = connection.take_notifications();
        let payloads: Vec<_> = told.iter().map(|n| n.payload.as_str()).collect();
        assert_eq!(payloads, ["one", "two"]);
        assert!(told.iter().all(|n| n.channel == "jobs" && n.process_id > 0));
    })
    .await;
}

#[tokio::test]
async fn prepared_statements_tell_their_types_and_run_often() {
    on_each(async |database| {
        let mut connection = database.connect().await;
        let sql = "SELECT $1 + 1 AS next, $2::text AS same";
        let statement = connection.prepare("s", sql, &[Oid(23)]).await.unwrap();
        assert_eq!(statement.parameters(), [Oid(23), Oid(25)]);
        let columns = [("next".to_owned(), Oid(23)), ("same".to_owned(), Oid(25))];
        assert_eq!(statement.columns(), columns);
        for n in 0..3_i32 {
            let formats = [Format::Binary, Format::Text];
            let values = [Some(&n.to_be_bytes()[..]), None];
            let result = connection.run(&statement, &formats, &values).await.unwrap();
            let row = result.row().unwrap();
            assert_eq!(row.get::<i32>("next").unwrap(), n + 1);
            assert_eq!(row.get::<Option<String>>("same").unwrap(), None);
        }
        assert!(connection.run(&statement, &[], &[]).await.is_err());
        assert!(connection.prepare("s", "SELECT 1", &[]).await.is_err(), "the name is taken");
        connection.forget(statement).await.unwrap();
        let again = connection.prepare("s", "CREATE TABLE u (a int)", &[]).await.unwrap();
        assert!(again.columns().is_empty());
        let error = connection.prepare("t", "SELEC", &[]).await.unwrap_err();
        assert_eq!(error.sqlstate().unwrap().as_str(), "42601");
        connection.query("SELECT 1; SELECT 2").await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn both_versions_of_the_protocol_are_spoken_and_cancel_in_tls() {
    for major in 14..=18 {
        let Some(binaries) = selected(major) else { continue };
        let secure = Secure::start(&binaries, &[]).await;
        let newest = if major >= 18 { ProtocolVersion::V3_2 } else { ProtocolVersion::V3_0 };
        for (asked, wanted) in [("3.0", ProtocolVersion::V3_0), ("3.2", newest), ("latest", newest)]
        {
            let more = format!(
                "password={PASSWORD} sslmode=verify-full sslrootcert={} max_protocol_version={asked}",
                secure.root
            );
            let mut connection = connect(&secure.dsn("scram", "either", &more)).await.unwrap();
            assert_eq!(connection.protocol_version(), wanted, "{major} {asked}");
            let token = connection.cancel_token().unwrap();
            // Whoever comes too early comes again.
            let asking = async {
                loop {
                    token.cancel().await.unwrap();
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            let result = patiently(async {
                tokio::select! {
                    result = connection.query("SELECT pg_sleep(60)") => result,
                    () = asking => unreachable!(),
                }
            })
            .await;
            assert_eq!(result.unwrap_err().sqlstate(), Some(SqlState::QUERY_CANCELED));
        }
        let more = format!("password={PASSWORD} sslmode=require min_protocol_version=3.2");
        let result = connect(&secure.dsn("scram", "either", &more)).await;
        match result {
            Ok(connection) => assert_eq!(connection.protocol_version(), ProtocolVersion::V3_2),
            Err(Error::ProtocolVersion { .. }) => assert!(major < 18),
            Err(other) => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn the_walsender_speaks_over_tls_too() {
    for binaries in versions_to_test() {
        let secure = Secure::start(&binaries, &[]).await;
        secure.admin("ALTER ROLE u_scram REPLICATION").await;
        let more = format!("password={PASSWORD} sslmode=verify-full sslrootcert={}", secure.root);
        let config = settings(&secure.dsn("scram", "only_tls", &more));
        let mut walsender = Connection::connect(&config, SessionKind::Replication).await.unwrap();
        assert!(walsender.is_encrypted() && walsender.is_channel_bound());
        let result = walsender.query("IDENTIFY_SYSTEM").await.unwrap();
        assert_eq!(result.row().unwrap().get::<String>("dbname").unwrap(), "only_tls");
        walsender.close().await;
    }
}

#[tokio::test]
async fn settings_that_no_server_reads_are_refused_before_they_are_sent() {
    let Some(binaries) = versions_to_test().into_iter().next() else { return };
    let database = Database::create(&server(&binaries), "session").await;
    let mut config = of(&database);
    config.application_name = "x".repeat(10_000);
    let error = Connection::connect(&config, SessionKind::Sql).await.unwrap_err();
    assert!(matches!(error, Error::Settings(_)), "{error:?}");
}
