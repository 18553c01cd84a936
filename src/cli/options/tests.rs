//! What is typed beside what is meant by it.

use std::path::PathBuf;

use clap::{CommandFactory, Parser};

use super::*;
use crate::{
    cli::args::{Args, Command},
    config::{FileText, Surroundings, Warning},
};

fn parse_dsn(dsn: &str) -> Result<Config, ConfigError> {
    Config::parse(
        dsn,
        &Surroundings {
            env: &|_| None,
            read_file: &|_| -> std::io::Result<FileText> {
                Err(std::io::ErrorKind::NotFound.into())
            },
            exists: &|_| false,
            os_user: Some("ann"),
            home: None,
        },
    )
}

fn meant(words: &[&str]) -> Result<Migrate, Failure> {
    let line = ["pghost", "migrate"].iter().chain(words);
    match Args::try_parse_from(line).unwrap().command {
        Command::Migrate(args) => migrate(*args, parse_dsn, 8),
        other => panic!("{other:?}"),
    }
}

const SERVERS: [&str; 4] = ["--source", "postgres://a/x", "--target", "postgres://b/x"];

fn between_servers(words: &[&str]) -> Result<Migrate, Failure> {
    meant(&[&SERVERS[..], words].concat())
}

#[test]
fn a_table_between_two_servers_is_enough() {
    let spec = between_servers(&["--table", "t"]).unwrap().spec;
    assert_eq!(spec.tables.len(), 1);
    assert_eq!((spec.copy_jobs, spec.apply_jobs, spec.page_rows), (4, 4, None));
    assert_eq!((spec.then, spec.name), (Then::Stop, None));
    assert_eq!(spec.paging, Paging::Auto);
}

#[test]
fn a_name_alone_resumes() {
    let spec = between_servers(&["--name", "n", "--then", "follow"]).unwrap().spec;
    assert_eq!((spec.then, spec.name.as_deref()), (Then::Follow, Some("n")));
    let failure = between_servers(&[]).unwrap_err();
    assert!(failure.hint.contains("--table") && failure.hint.contains("--name"));
}

#[test]
fn a_handover_has_its_subscription() {
    let words = ["--table", "t", "--then", "handoff"];
    let spec = between_servers(&words).unwrap().spec;
    assert_eq!((spec.then, spec.handoff.subscription), (Then::Handoff, None));
    let dsn = "postgres://repl:hunter2@a/x";
    let more = ["--subscription", "s", "--subscription-conninfo", dsn];
    let spec = between_servers(&[&words[..], &more].concat()).unwrap().spec;
    assert_eq!(spec.handoff.subscription.as_deref(), Some("s"));
    assert!(!format!("{:?}", spec.handoff).contains("hunter2"));
    assert!(between_servers(&["--table", "t", "--subscription", "s"]).is_err());
    let bad = ["--subscription-conninfo", "host=h password=hunter2 sslmode=hunter2"];
    let failure = between_servers(&[&words[..], &bad].concat()).unwrap_err();
    assert!(!failure.to_string().contains("hunter2"), "{failure}");
}

#[test]
fn sequences_are_of_a_migration_or_of_tables() {
    let meant = |words: &[&str]| {
        let line = ["pghost", "cutover-sequences"].iter().chain(&SERVERS).chain(words);
        match Args::try_parse_from(line).unwrap().command {
            Command::CutoverSequences(args) => cutover_sequences(args, parse_dsn),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(meant(&["--name", "n"]).unwrap().gap, 1_000);
    let spec = meant(&["--table", "t", "--gap", "0"]).unwrap();
    assert_eq!((spec.tables.len(), spec.gap), (1, 0));
    assert!(meant(&[]).is_err() && meant(&["--name", "n", "--table", "t"]).is_err());
}

#[test]
fn what_is_made_on_the_target_can_be_told() {
    let spec = between_servers(&["--table", "t"]).unwrap().spec;
    assert_eq!(
        (spec.defer_indexes, spec.target_owner, spec.target_tablespace),
        (false, None, None)
    );
    let words =
        ["--table", "t", "--defer-indexes", "--target-owner", "o", "--target-tablespace", "s"];
    let spec = between_servers(&words).unwrap().spec;
    let told = (spec.defer_indexes, spec.target_owner, spec.target_tablespace);
    assert_eq!(told, (true, Some("o".into()), Some("s".into())));
    let trial = |words: &[&str]| between_servers(words).unwrap().spec.trial;
    assert!(trial(&words) && !trial(&["--table", "t", "--no-trial"]));
}

#[test]
fn a_missing_server_says_where_to_give_it() {
    for (words, side) in [(&SERVERS[..2], "target"), (&SERVERS[2..], "source")] {
        let failure = meant(words).unwrap_err();
        assert_eq!(failure.message, format!("the {side} is missing"));
        let variable = format!("GHOST_{}", side.to_uppercase());
        assert!(failure.hint.contains(&format!("--{side}")), "{failure}");
        assert!(failure.hint.contains(&variable), "{failure}");
    }
    assert!(meant(&["--source", " ", "--target", "postgres://b"]).is_err());
}

#[test]
fn a_bad_connection_string_is_not_shown() {
    let words = ["--source", "postgres://u:hunter2@h/x?sslmode=hunter2", "--table", "t"];
    let failure = meant(&words).unwrap_err();
    assert!(failure.message.starts_with("the source can't be used: "), "{failure}");
    assert!(!failure.to_string().contains("hunter2"), "{failure}");
}

#[test]
fn no_table_is_named_twice_on_either_side() {
    let failure = between_servers(&["--table", "t", "--table", "public.t=u"]).unwrap_err();
    assert_eq!(failure.message, "the table public.t is given twice");
    let failure = between_servers(&["--table", "t", "--table", "u=t"]).unwrap_err();
    assert_eq!(failure.message, "two tables are to go to public.t");
}

#[test]
fn a_server_in_a_tables_place_is_not_shown() {
    for table in ["postgres://u:hunter2@h/x", "host=h password=hunter2"] {
        let failure = between_servers(&["--table", table]).unwrap_err();
        assert!(!failure.to_string().contains("hunter2"), "{failure}");
    }
    assert!(between_servers(&["--table", r#""a://b""#]).is_ok());
}

#[test]
fn names_that_no_server_takes_are_refused() {
    let long = "n".repeat(64);
    for words in [
        ["--name", ""],
        ["--name", &long],
        ["--publication", ""],
        ["--slot", "Slot"],
        ["--target-owner", ""],
        ["--target-tablespace", &long],
    ] {
        assert!(between_servers(&[&["--table", "t"], &words[..]].concat()).is_err());
    }
}

fn compared(words: &[&str]) -> Result<Verify, Failure> {
    let line = ["pghost", "verify"].iter().chain(&SERVERS).chain(words);
    match Args::try_parse_from(line).unwrap().command {
        Command::Verify(args) => verify(*args, parse_dsn, 8),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_comparison_needs_tables_or_a_name() {
    let failure = compared(&[]).unwrap_err();
    assert!(failure.message.contains("to compare") && failure.hint.contains("--name"));
    let spec = compared(&["--table", "t=u", "--list", "3"]).unwrap().spec;
    assert_eq!((spec.tables.len(), spec.list, spec.page_rows), (1, 3, None));
    assert_eq!(compared(&["--name", "n"]).unwrap().spec.name.as_deref(), Some("n"));
    assert!(!between_servers(&["--table", "t"]).unwrap().spec.verify);
    assert!(between_servers(&["--table", "t", "--verify"]).unwrap().spec.verify);
}

#[test]
fn a_comparison_takes_what_a_migration_takes() {
    let whole = Args::command();
    let of = |name| whole.find_subcommand(name).unwrap().get_arguments();
    let mut line = vec!["--table".to_owned(), "t".to_owned()];
    for option in of("migrate").filter(|option| !option.is_global_set()) {
        let long = option.get_long().unwrap();
        let value = match long {
            "source" | "target" | "table" => continue,
            "copy-from" | "subscription-conninfo" => "postgres://c/x",
            "paging" => "range",
            "then" => "handoff",
            _ if option.get_action().takes_values() => "7",
            _ => "",
        };
        line.push(format!("--{long}"));
        line.extend(Some(value.to_owned()).filter(|value| !value.is_empty()));
    }
    let line: Vec<_> = line.iter().map(String::as_str).collect();
    assert!(between_servers(&line).is_ok(), "{line:?}");
    let meant = compared(&line).unwrap();
    assert_eq!((meant.spec.slot.as_deref(), meant.spec.page_rows), (Some("7"), Some(7)));
    assert!(meant.warnings.iter().any(|w| w.contains("--copy-from")), "{:?}", meant.warnings);
    // What is wrong there is wrong here.
    assert!(compared(&["--table", "t", "--slot", "Slot"]).is_err());
    assert!(compared(&["--table", "t", "--subscription", "s"]).is_err());
}

#[test]
fn a_warning_about_both_servers_is_given_once() {
    let warning = Warning::PasswordFileNotPlain(PathBuf::from("/p"));
    let open = |dsn: &str| {
        let mut config = parse_dsn(dsn)?;
        config.warnings.push(warning.clone());
        Ok(config)
    };
    let line = ["pghost", "migrate", "--table", "t"].iter().chain(&SERVERS);
    let Command::Migrate(args) = Args::try_parse_from(line).unwrap().command else {
        panic!("migrate");
    };
    assert_eq!(migrate(*args, open, 1).unwrap().warnings, [warning.to_string()]);
}

#[test]
fn jobs_follow_the_cores_within_bounds() {
    assert_eq!([1, 2, 3, 4, 64].map(default_copy_jobs), [2, 2, 3, 4, 4]);
    assert_eq!([1, 2, 4, 6, 64].map(default_apply_jobs), [1, 1, 2, 3, 4]);
}
