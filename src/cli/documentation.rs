//! README and `docs/` beside the command line and each other: what they name is there, and what is
//! there is told of. Holds only tests.
//!
//! Names of pghost's options stand in prose, in code that begins with them or with `pghost`, and in
//! what pghost has printed. Code that begins otherwise is another program's.
#![allow(clippy::unwrap_used)] // clippy.toml leaves it to test functions, not to their helpers

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use clap::{Arg, Command, CommandFactory};

use super::args::Args;

/// Programs whose options stand in blocks of code.
const OTHERS: [&str; 6] = ["cargo ", "psql ", "createdb ", "docker ", "initdb ", "pg_ctl "];

/// A document without what it has commented out.
struct Document {
    path: PathBuf,
    text: String,
}

fn documents() -> Vec<Document> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> =
        folder.filter(|path| path.extension().is_some_and(|ending| ending == "md")).collect();
    paths.push(root.join("README.md"));
    let document = |path: PathBuf| {
        let text = without_comments(&fs::read_to_string(&path).unwrap());
        Document { path, text }
    };
    paths.into_iter().map(document).collect()
}

fn without_comments(text: &str) -> String {
    let mut parts = text.split("<!--");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.filter_map(|part| part.split_once("-->")).fold(first, |text, (_, rest)| text + rest)
}

/// The pieces of a text in which pghost's options may stand, those of one command line together.
fn pieces(text: &str) -> Vec<String> {
    let mut pieces = Vec::new();
    let mut prose = String::new();
    // A command goes on in the next line after a backslash.
    let mut is_block = false;
    for line in text.replace("\\\n", " ").lines() {
        if line.trim_start().starts_with("```") {
            is_block = !is_block;
        } else if is_block {
            let line = line.trim_start().trim_start_matches("$ ");
            if !OTHERS.iter().any(|other| line.starts_with(other)) {
                pieces.extend(commands(line));
            }
        } else {
            prose += line;
            prose.push('\n');
        }
    }
    for (at, part) in prose.split('`').enumerate() {
        let is_code = at % 2 == 1;
        if !is_code || part.starts_with("--") || part.starts_with("pghost ") {
            pieces.extend(commands(part));
        }
    }
    pieces
}

/// A text in parts, each of which begins with `pghost ` if it has it.
fn commands(text: &str) -> Vec<String> {
    let mut parts = text.split("pghost ");
    let first = parts.next().unwrap_or_default().to_owned();
    let others = parts.map(|part| format!("pghost {part}"));
    [first].into_iter().chain(others).collect()
}

/// The options that a text names, without their dashes, and what follows each.
fn options(text: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("--") {
        let before = text[..at].chars().next_back();
        let rest = &text[at + 2..];
        let is_letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let end = rest.find(|c| !is_letter(c)).unwrap_or(rest.len());
        let starts = before.is_none_or(|c| !c.is_alphanumeric() && c != '-' && c != '|');
        if starts && rest.starts_with(|c: char| c.is_ascii_lowercase()) {
            found.push((rest[..end].trim_end_matches('-'), &rest[end..]));
        }
    }
    found
}

fn whole() -> Command {
    let mut whole = Args::command();
    whole.build();
    whole
}

fn arguments<'a>(whole: &'a Command, of: Option<&'a str>) -> impl Iterator<Item = &'a Arg> {
    let commands = whole.get_subcommands().filter(move |c| of.is_none_or(|of| c.get_name() == of));
    commands.flat_map(Command::get_arguments).chain(whole.get_arguments())
}

/// The command that a piece begins with.
fn command_of<'a>(whole: &Command, piece: &'a str) -> Option<&'a str> {
    let name = piece.strip_prefix("pghost ")?.split(|c: char| !c.is_ascii_lowercase() && c != '-');
    name.into_iter().next().filter(|name| whole.find_subcommand(name).is_some())
}

#[test]
fn every_option_that_is_named_is_there() {
    let whole = whole();
    let mut wrong = Vec::new();
    for document in documents() {
        for piece in pieces(&document.text) {
            let command = command_of(&whole, &piece);
            for (name, _) in options(&piece) {
                if !arguments(&whole, command).any(|known| known.get_long() == Some(name)) {
                    wrong.push(format!("{}: --{name} of {command:?}", document.path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_command_and_option_is_told_of() {
    let whole = whole();
    let pieces: Vec<_> = documents().iter().flat_map(|document| pieces(&document.text)).collect();
    let told: BTreeSet<_> =
        pieces.iter().flat_map(|piece| options(piece)).map(|(name, _)| name).collect();
    let commands: BTreeSet<_> =
        pieces.iter().filter_map(|piece| command_of(&whole, piece)).collect();
    let mut wrong = Vec::new();
    for command in whole.get_subcommands().filter(|command| command.get_name() != "help") {
        if !commands.contains(command.get_name()) {
            wrong.push(format!("pghost {}", command.get_name()));
        }
        let visible = command.get_arguments().filter(|argument| !argument.is_hide_set());
        let names = visible.filter_map(Arg::get_long).filter(|name| *name != "help");
        let missing = names.filter(|name| *name != "version" && !told.contains(name));
        wrong.extend(missing.map(|name| format!("pghost {} --{name}", command.get_name())));
    }
    assert!(wrong.is_empty(), "nothing tells of {wrong:#?}");
}

#[test]
fn the_choices_of_an_option_are_told_whole() {
    let whole = whole();
    let mut seen = 0;
    for document in documents() {
        for piece in pieces(&document.text) {
            for (name, rest) in options(&piece) {
                let rest = rest.trim_start_matches([' ', '=']).replace("\\|", "|");
                let end = rest.find(|c: char| c.is_whitespace() || c == '`');
                let told: Vec<_> = rest[..end.unwrap_or(rest.len())].split('|').collect();
                let known = arguments(&whole, command_of(&whole, &piece))
                    .find(|known| known.get_long() == Some(name));
                let choices = known.map(Arg::get_possible_values).unwrap_or_default();
                if told.len() > 1 && !choices.is_empty() {
                    let choices: Vec<_> = choices.iter().map(|choice| choice.get_name()).collect();
                    assert_eq!(told, choices, "--{name} in {}", document.path.display());
                    seen += 1;
                }
            }
        }
    }
    assert!(seen > 0, "no choices are told of at all");
}

/// A heading's address, as it is made by who shows these documents.
fn anchor(heading: &str) -> String {
    let letter = |c: char| match c {
        ' ' => Some('-'),
        '-' | '_' => Some(c),
        c if c.is_alphanumeric() => c.to_lowercase().next(),
        _ => None,
    };
    heading.trim_start_matches('#').trim().chars().filter_map(letter).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let mut wrong = Vec::new();
    let documents = documents();
    for document in &documents {
        let links = document.text.match_indices("](").filter_map(|(at, opening)| {
            document.text[at + opening.len()..].split_once(')').map(|(link, _)| link)
        });
        for link in links.filter(|link| !link.contains("://")) {
            let (file, part) = link.split_once('#').unwrap_or((link, ""));
            let there = match file {
                "" => document.path.clone(),
                file => document.path.parent().unwrap().join(file),
            };
            let Ok(text) = fs::read_to_string(&there) else {
                wrong.push(format!("{}: {link}", document.path.display()));
                continue;
            };
            let text = without_comments(&text);
            let mut headings = text.lines().filter(|line| line.starts_with('#'));
            if !part.is_empty() && !headings.any(|heading| anchor(heading) == part) {
                wrong.push(format!("{}: {link}", document.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn options_are_found_where_they_are_pghosts() {
    let text = "a --one, `--two N` `gh-ost --no` (--three) --- a--b\n<!-- --no -->\n```sh\n\
                cargo run --no\npghost migrate \\\n  --four && pghost check --five=6\n```\n";
    let pieces = pieces(&without_comments(text));
    let found: Vec<_> = pieces.iter().flat_map(|piece| options(piece)).map(|o| o.0).collect();
    assert_eq!(found, ["four", "five", "one", "two", "three"]);
    let whole = whole();
    let of: Vec<_> = pieces.iter().filter_map(|piece| command_of(&whole, piece)).collect();
    assert_eq!(of.first(), Some(&"migrate"));
    assert_eq!(
        anchor("## A target that `pghost` makes, or not"),
        "a-target-that-pghost-makes-or-not"
    );
}
