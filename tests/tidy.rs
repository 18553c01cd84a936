//! The rules of the house that a compiler doesn't know, each a test over the files of the tree.
#![allow(clippy::unwrap_used)] // clippy.toml leaves it to test functions, not to their helpers

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The rooms from the ground up: a room uses only rooms of a lower rank.
const ROOMS: &[(&str, u32)] = &[
    ("pg", 0),
    ("wire", 1),
    ("sql", 2),
    ("config", 2),
    ("auth", 3),
    ("pgoutput", 3),
    ("conn", 4),
    ("replication", 5),
    ("catalog", 5),
    ("ledger", 6),
    ("backfill", 7),
    ("apply", 7),
    ("verify", 7),
    ("migrate", 8),
    ("cluster", 8),
    ("demo", 9),
    ("cli", 10),
];

/// Files outside the pure rooms that may touch sockets, files, processes, the environment or the
/// clock. Every other file is pure; a new one here is meant to be noticed.
const IO: &[&str] = &[
    "apply/driver.rs",
    "apply/driver/fetching.rs",
    "apply/fetch.rs",
    "apply/lane.rs",
    "apply/lanes.rs",
    "apply/open.rs",
    "apply/run.rs",
    "backfill/door.rs",
    "backfill/find.rs",
    "backfill/page.rs",
    "backfill/run.rs",
    "backfill/session.rs",
    "catalog/composition.rs",
    "catalog/extras.rs",
    "catalog/foundation.rs",
    "catalog/foundation/target.rs",
    "catalog/inherited.rs",
    "catalog/not_null.rs",
    "catalog/ordering.rs",
    "catalog/owners.rs",
    "catalog/prefixes.rs",
    "catalog/query.rs",
    "catalog/sequence.rs",
    "conn/ask.rs",
    "conn/cancel.rs",
    "conn/connection.rs",
    "conn/copy_both.rs",
    "conn/copy_in.rs",
    "conn/copy_out.rs",
    "conn/dial.rs",
    "conn/handshake.rs",
    "conn/pipeline.rs",
    "conn/pooler.rs",
    "conn/socket.rs",
    "conn/statement.rs",
    "conn/surroundings.rs",
    "conn/tls/files.rs",
    "conn/tls/mod.rs",
    "conn/transport.rs",
    "ledger/chain.rs",
    "ledger/failure.rs",
    "ledger/handoff.rs",
    "ledger/inspect.rs",
    "ledger/look.rs",
    "ledger/object.rs",
    "ledger/page.rs",
    "ledger/locks.rs",
    "ledger/store.rs",
    "ledger/target.rs",
    "ledger/upgrade.rs",
    "ledger/whole.rs",
    "ledger/wish.rs",
    "migrate/backfill_phase.rs",
    "migrate/build_key.rs",
    "migrate/check/ask.rs",
    "migrate/check/locale.rs",
    "migrate/check/look.rs",
    "migrate/check/missing.rs",
    "migrate/check/object_names.rs",
    "migrate/check/order.rs",
    "migrate/check/owners.rs",
    "migrate/check/plan.rs",
    "migrate/check/privileges.rs",
    "migrate/check/published.rs",
    "migrate/check/sessions.rs",
    "migrate/check/settings.rs",
    "migrate/check/tables.rs",
    "migrate/check/trial/asked.rs",
    "migrate/check/trial/broken.rs",
    "migrate/check/trial/existing.rs",
    "migrate/check/trial/mod.rs",
    "migrate/check/trial/sample.rs",
    "migrate/check/trial/steps.rs",
    "migrate/check/unmade.rs",
    "migrate/check/waits.rs",
    "migrate/cleanup.rs",
    "migrate/composition.rs",
    "migrate/cutover.rs",
    "migrate/defer.rs",
    "migrate/desk.rs",
    "migrate/earlier.rs",
    "migrate/finish.rs",
    "migrate/ground.rs",
    "migrate/handoff/check.rs",
    "migrate/handoff/mod.rs",
    "migrate/handoff/origin.rs",
    "migrate/handoff/subscription.rs",
    "migrate/handoff/waiting.rs",
    "migrate/load_ledger.rs",
    "migrate/make_table.rs",
    "migrate/objects.rs",
    "migrate/persist.rs",
    "migrate/preflight.rs",
    "migrate/prepare.rs",
    "migrate/publication.rs",
    "migrate/report.rs",
    "migrate/resume.rs",
    "migrate/run.rs",
    "migrate/sequences.rs",
    "migrate/servers.rs",
    "migrate/standby.rs",
    "migrate/target_owner.rs",
    "migrate/status.rs",
    "migrate/status_source.rs",
    "migrate/still.rs",
    "migrate/watch/apply.rs",
    "migrate/watch/backfill.rs",
    "migrate/watch/blocked.rs",
    "migrate/watch/slot.rs",
    "migrate/watch/index.rs",
    "migrate/watch/source.rs",
    "migrate/verify.rs",
    "migrate/verify_phase.rs",
    "replication/checkpoint.rs",
    "replication/slot.rs",
    "replication/stream.rs",
    "replication/transaction/spill.rs",
    "verify/compare.rs",
    "verify/narrow.rs",
    "verify/position.rs",
    "verify/run.rs",
    "verify/settle.rs",
    "verify/side.rs",
];

/// Rooms that are at home with the outside world.
const IO_ROOMS: &[&str] = &["cli", "cluster", "demo"];

/// What a pure file may not name.
const IMPURE: &[&str] = &[
    "tokio",
    "async fn",
    ".await",
    "TcpStream",
    "UnixStream",
    "ToSocketAddrs",
    "std::fs",
    "std::process",
    "std::env",
    "env::var",
    "Instant::now",
    "SystemTime::now",
    "getrandom",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Files below `folder` that end in `.ending`, with their paths from the root.
fn files(folder: &str, ending: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && name != "target" && name != ".git" && name != "corpus" {
                folders.push(path);
            } else if name.ends_with(&format!(".{ending}")) {
                let text = fs::read_to_string(&path).unwrap();
                let path = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
                found.push((path, text));
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "no .{ending} below {folder}");
    found
}

/// Source files with their paths from `src`, without those that hold only tests.
fn sources() -> Vec<(String, String)> {
    files("src", "rs")
        .into_iter()
        .map(|(path, text)| (path.trim_start_matches("src/").to_owned(), text))
        .filter(|(path, _)| !path.contains("/tests/") && !path.ends_with("/tests.rs"))
        .collect()
}

/// The part of a file before its tests.
fn without_tests(text: &str) -> &str {
    text.find("#[cfg(test)]\nmod tests").map_or(text, |at| &text[..at])
}

fn room_of(path: &str) -> Option<&str> {
    path.split_once('/').map(|(room, _)| room)
}

fn rank(room: &str) -> u32 {
    let known = ROOMS.iter().find(|(name, _)| *name == room);
    known.unwrap_or_else(|| panic!("{room} is not on the floor plan of tests/tidy.rs")).1
}

/// Every `crate::room` that a file names, wherever it does, also inside `use crate::{..}`.
fn rooms_used(text: &str) -> Vec<String> {
    let code: String = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| [line, "\n"])
        .collect();
    let name = |s: &str| s.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    let mut rooms = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let Some(list) = rest.strip_prefix('{') else {
            rooms.push(name(rest));
            continue;
        };
        let mut depth = 0;
        let mut start = true;
        for (i, c) in list.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => start = true,
                c if start && depth == 0 && !c.is_whitespace() => {
                    rooms.push(name(&list[i..]));
                    start = false;
                }
                _ => {}
            }
        }
    }
    rooms
}

#[test]
fn arrows_between_rooms_point_down() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let Some(room) = room_of(&path) else { continue };
        for used in rooms_used(without_tests(&text)) {
            if used != room && rank(&used) >= rank(room) {
                wrong.push(format!("{path} uses crate::{used}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_floor_plan_names_every_room() {
    for (path, _) in sources() {
        if let Some(room) = room_of(&path) {
            rank(room);
        }
    }
    let plan = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    for (room, _) in ROOMS {
        assert!(plan.contains(&format!("pub mod {room};")), "{room} is not in src/lib.rs");
    }
}

#[test]
fn pure_files_are_pure() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let Some(room) = room_of(&path) else { continue };
        if IO.contains(&path.as_str()) || IO_ROOMS.contains(&room) {
            continue;
        }
        for line in without_tests(&text).lines().filter(|l| !l.trim_start().starts_with("//")) {
            if let Some(word) = IMPURE.iter().find(|word| line.contains(**word)) {
                wrong.push(format!("{path} names {word}: {}", line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_list_of_io_files_holds_no_file_that_is_gone() {
    let sources = sources();
    for io in IO {
        assert!(sources.iter().any(|(path, _)| path == io), "{io}");
    }
}

#[test]
fn every_module_says_what_it_is() {
    for folder in ["src", "tests", "benches", "fuzz"] {
        for (path, text) in files(folder, "rs") {
            assert!(text.starts_with("//!"), "{path} does not begin with its description");
        }
    }
}

#[test]
fn only_the_ledger_says_what_is_durable() {
    for (path, text) in sources() {
        let calls = without_tests(&text).contains("DurableLsn::assertion(");
        assert!(!calls || path.starts_with("ledger/"), "{path} makes a DurableLsn");
    }
}

#[test]
fn only_auth_says_who_is_authenticated() {
    for (path, text) in sources() {
        let makes = without_tests(&text).contains("Authenticated {");
        assert!(!makes || path.starts_with("auth/"), "{path} makes an Authenticated");
    }
}

/// Or its environment would be pghost's, with the passwords in it.
#[test]
fn only_one_place_makes_a_program_to_be_run() {
    let made = ["Command::new", "("].concat();
    for (path, text) in sources() {
        let runs = text.contains("process::") && without_tests(&text).contains(&made);
        let only_tests = path == "cluster/fake.rs";
        assert!(!runs || path == "cluster/command.rs" || only_tests, "{path} makes a Command");
    }
}

#[test]
fn what_is_banned_is_nowhere() {
    // Put together so that this file does not name them.
    let banned = [
        ["unbounded", "_channel"].concat(),
        ["FIX", "ME"].concat(),
        ["#[ig", "nore"].concat(),
        ["to", "do!("].concat(),
    ];
    for folder in ["src", "tests", "benches", "fuzz"] {
        for (path, text) in files(folder, "rs") {
            for word in &banned {
                assert!(!text.contains(word), "{path} names {word}");
            }
        }
    }
}

#[test]
fn files_lines_and_functions_are_short() {
    let mut wrong = Vec::new();
    // Tests hold SQL as it would be typed, and tell a story from end to end.
    for (folder, line_max, function_max) in
        [("src", 100, 70), ("benches", 100, 70), ("tests", 130, 100)]
    {
        for (path, text) in files(folder, "rs") {
            let lines: Vec<_> = text.lines().collect();
            if lines.len() > 500 {
                wrong.push(format!("{path} has {} lines", lines.len()));
            }
            for (number, line) in lines.iter().enumerate() {
                let table = line.starts_with("//! |") || line.contains("http");
                if line.chars().count() > line_max && !table {
                    wrong.push(format!("{path}:{} is longer than {line_max}", number + 1));
                }
            }
            let long = long_functions(&lines, function_max);
            wrong.extend(long.map(|at| format!("{path}:{at} is a long function")));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Where functions of more than `most` lines begin. rustfmt puts a function's last brace below its
/// first letter.
fn long_functions<'a>(lines: &'a [&'a str], most: usize) -> impl Iterator<Item = usize> + 'a {
    let begins = |line: &str| {
        let line = line.trim_start();
        let line = line.trim_start_matches("pub ").trim_start_matches("pub(crate) ");
        let line = line.trim_start_matches("pub(super) ").trim_start_matches("const ");
        line.trim_start_matches("async ").starts_with("fn ")
    };
    lines.iter().enumerate().filter(move |(_, line)| begins(line)).filter_map(move |(at, line)| {
        let indent = line.len() - line.trim_start().len();
        let end = format!("{}}}", " ".repeat(indent));
        let length = lines[at..].iter().position(|line| *line == end)?;
        (length > most).then_some(at + 1)
    })
}

#[test]
fn documents_have_one_title_and_the_changelog_says_what_is_new() {
    for name in ["README.md", "CHANGELOG.md"] {
        let text = fs::read_to_string(root().join(name)).unwrap();
        let mut code = false;
        let titles = text
            .lines()
            .filter(|line| {
                code ^= line.starts_with("```");
                !code && line.starts_with("# ")
            })
            .count();
        assert_eq!(titles, 1, "{name}");
    }
    let changelog = fs::read_to_string(root().join("CHANGELOG.md")).unwrap();
    assert!(changelog.contains("\n## Unreleased\n"));
}
