//! From a database of one encoding to one of another: keys and values are the same letters in other
//! bytes, and a letter that the target has no place for is said.

use pghost::{
    cluster::Binaries,
    migrate::{Event, Exit},
};

use crate::support::{
    Database, assert_same, migrate,
    moments::{drop_slot, migrate_with, now, sums},
    oldest_and_newest, server, some_releases, spec,
};

/// A database of the whole letters there are, and one of 256.
async fn databases(binaries: &Binaries) -> (Database, Database) {
    let utf8 = Database::create(&server(binaries), "letters").await;
    let latin = Database { name: format!("{}_latin1", utf8.name), ..utf8.clone() };
    utf8.sql(&format!(
        "CREATE DATABASE {} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0",
        latin.name
    ))
    .await;
    (utf8, latin)
}

/// Each letter from À to ÿ, and others with quotes: the bounds of pages are among them.
const SOURCE: &str = r#"CREATE TABLE source (k text COLLATE "C", c char(3), n integer, v text, PRIMARY KEY (k, c));
    INSERT INTO source SELECT chr(192 + i) || '''\' || i, 'ß' || chr(200 + i % 3), i, repeat('größer ', i * 9)
      FROM generate_series(0, 63) i"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn letters_are_the_same_in_other_bytes() {
    for binaries in some_releases() {
        let (utf8, latin) = databases(&binaries).await;
        for (from, to) in [(&latin, &utf8), (&utf8, &latin)] {
            from.sql(SOURCE).await;
            let mut spec = spec(from, to, "source", "target");
            (spec.page_rows, spec.copy_jobs, spec.verify) = (Some(5), 1, true);
            let mut changes = [
                "UPDATE source SET k = 'ÿ' || k, v = v || 'é' WHERE n % 7 = 0",
                "UPDATE source SET k = 'À' || k WHERE n % 11 = 3; DELETE FROM source WHERE n % 13 = 1",
                "INSERT INTO source SELECT 'þ' || i, 'ÄÖÜ', i, 'neu' FROM generate_series(100, 120) i",
            ]
            .into_iter();
            let events = migrate_with(&spec, |event: &Event| {
                if let Event::Progress { .. } = event
                    && let Some(change) = changes.next()
                {
                    now(from.sql(change));
                }
            });
            sums(&events.await.unwrap());
            assert_eq!(changes.next(), None, "not all of them came in time");
            from.sql("UPDATE source SET c = 'ñ', v = NULL WHERE n % 5 = 2; DELETE FROM source WHERE k > 'û'")
                .await;
            migrate(&spec).await.unwrap();
            assert_same((from, "source"), (to, "target"), "n").await;
            drop_slot(from, &spec).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_letter_that_the_target_lacks_stops_the_run_until_it_is_mended() {
    for binaries in oldest_and_newest() {
        let (from, to) = databases(&binaries).await;
        from.sql(SOURCE).await;
        from.sql(
            "UPDATE source SET v = CASE n WHEN 20 THEN 'Łódź' ELSE '日本' END WHERE n IN (20, 40)",
        )
        .await;
        let mut spec = spec(&from, &to, "source", "target");
        (spec.page_rows, spec.copy_jobs) = (Some(5), 1);
        // A trial may meet such a row, if it is among those that it takes.
        let refused = migrate(&spec).await.unwrap_err();
        assert!(refused.exit == Exit::Refused && refused.message.contains("22P05"), "{refused}");
        spec.trial = false;
        for mend in [
            "UPDATE source SET v = 'Lodz' WHERE n = 20",
            "UPDATE source SET v = 'Japan' WHERE n = 40",
        ] {
            let failure = migrate(&spec).await.unwrap_err();
            assert_eq!(failure.exit, Exit::Stopped, "{failure}");
            let said = failure.message.contains("no equivalent in encoding \"LATIN1\"");
            assert!(said && failure.message.contains("22P05"), "{failure}");
            from.sql(mend).await;
        }
        migrate(&spec).await.unwrap();
        assert_same((&from, "source"), (&to, "target"), "n").await;
        // As a change: what was there before it stays.
        from.sql("UPDATE source SET v = '5 €' WHERE n = 21").await;
        let failure = migrate(&spec).await.unwrap_err();
        assert_eq!(failure.exit, Exit::Stopped, "{failure}");
        assert!(failure.message.contains("LATIN1"), "{failure}");
        let same = "SELECT v ~ '^größer' FROM target WHERE n = 21";
        assert_eq!(to.value(same).await, "t");
        drop_slot(&from, &spec).await;
    }
}
