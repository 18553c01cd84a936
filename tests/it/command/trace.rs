//! `--trace-protocol`: both directions of every connection in a file, and no password in it.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown, symlink},
    process::Command,
    sync::Arc,
};

use pghost::cluster::Server;

use crate::support::{
    Database,
    login_servers::{PASSWORD, Scratch},
    program::Program,
    some_releases,
};

#[tokio::test]
async fn a_traced_migration_shows_what_was_said_and_never_the_password() {
    for binaries in some_releases() {
        let server = Arc::new(Server::start(&binaries, &[]).unwrap());
        let database = Database::create(&server, "traced").await;
        database
            .sql(&format!(
                "CREATE TABLE source (id int PRIMARY KEY, t text);
                 INSERT INTO source SELECT i, 'row ' || i FROM generate_series(1, 100) i;
                 CREATE TABLE target (LIKE source INCLUDING ALL);
                 ALTER ROLE postgres PASSWORD '{PASSWORD}'"
            ))
            .await;
        server.set_hba("host all all 127.0.0.1/32 scram-sha-256\nlocal all all trust").unwrap();
        let files = Scratch::new();
        let file = files.missing();
        let with_password =
            |dsn: String| dsn.replace("postgres@", &format!("postgres:{PASSWORD}@"));
        let dsn = with_password(server.tcp_dsn(&database.name));
        let args = ["--table", "source=target", "--trace-protocol", &file];
        Program::migrate_between(&dsn, &dsn, &args).ends_with(0).await.finished();

        let mode = fs::metadata(&file).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        let text = fs::read_to_string(&file).unwrap();
        assert!(!text.contains(PASSWORD));
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
        // Time, connection, direction, length, name, and fields where there are any.
        assert!(lines.iter().all(|line| (5..=6).contains(&line.len())), "{:?}", lines.last());
        assert!(lines.iter().all(|line| line[0].starts_with("20") && line[0].ends_with('Z')));
        let said =
            |side: &str, name: &str| lines.iter().any(|line| line[2] == side && line[4] == name);
        for (side, name) in [
            ("F", "SSLRequest"),
            ("B", "SSLResponse"),
            ("F", "StartupMessage"),
            ("B", "AuthenticationSASL"),
            ("F", "SASLInitialResponse"),
            ("B", "AuthenticationSASLFinal"),
            ("B", "ParameterStatus"),
            ("F", "Query"),
            ("B", "CopyOutResponse"),
            ("B", "CopyInResponse"),
            ("B", "CopyBothResponse"),
            ("F", "CopyDone"),
            ("F", "Bind"),
            ("F", "Terminate"),
        ] {
            assert!(said(side, name), "{side} {name}");
        }
        assert!(text.contains("row 99"), "the rows are there");
        // One connection's lines can be told from another's.
        let connections: std::collections::HashSet<_> = lines.iter().map(|line| line[1]).collect();
        assert!(connections.len() > 3, "{connections:?}");
        database.sql("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots").await;
    }
}

#[test]
fn a_trace_goes_into_a_file_of_our_own_or_nowhere() {
    let files = Scratch::new();
    let victim = files.missing();
    let (link, second) = (format!("{victim}.link"), format!("{victim}.second"));
    fs::write(&victim, "what was there").unwrap();
    symlink(&victim, &link).unwrap();
    fs::hard_link(&victim, &second).unwrap();
    let refused = |path: &str, why: &str| {
        let mut pghost = Command::new(env!("CARGO_BIN_EXE_pghost"));
        let output = pghost.args(["demo", "--trace-protocol", path]).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{path}: {said}");
        assert!(said.contains("the trace can't be written to") && said.contains(why), "{said}");
    };
    refused(&link, "it is a link");
    refused(&second, "it has another name besides");
    refused("/dev/null", "it is no plain file");
    fs::remove_file(&second).unwrap();
    // Who is not root can't give a file away; then there is none to try it with.
    if chown(&victim, Some(4242), None).is_ok() {
        refused(&victim, "it belongs to another user");
    }
    assert_eq!(fs::read_to_string(&victim).unwrap(), "what was there");
}
