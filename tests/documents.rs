//! What the documents say of this tree is there: links lead somewhere, and files and modules that
//! the map names exist.
#![allow(clippy::unwrap_used)] // clippy.toml leaves it to test functions, not to their helpers

use std::{
    fs,
    path::{Path, PathBuf},
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The documents: paths from the root, and texts.
fn documents() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for folder in ["", "docs", "docs/design"] {
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|ending| ending == "md") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(root()).unwrap().to_owned(), text));
            }
        }
    }
    assert!(found.len() > 8, "{found:?}");
    found
}

fn document(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap()
}

/// The text outside fenced blocks.
fn prose(text: &str) -> String {
    let mut in_block = false;
    let lines = text.lines().filter(|line| {
        let is_fence = line.trim_start().starts_with("```");
        in_block ^= is_fence;
        !in_block && !is_fence
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// What stands in backquotes.
fn quoted(text: &str) -> Vec<String> {
    prose(text).split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// What GitHub makes of a heading for links.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

fn anchors(text: &str) -> Vec<String> {
    let headings = prose(text);
    let headings = headings.lines().filter_map(|line| line.strip_prefix('#'));
    headings.map(|line| anchor(line.trim_start_matches('#').trim())).collect()
}

#[test]
fn links_lead_somewhere() {
    let mut wrong = Vec::new();
    for (path, text) in documents() {
        let prose = prose(&text);
        for link in prose.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.starts_with("http") {
                continue;
            }
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let there = match file {
                "" => root().join(&path),
                file => root().join(&path).parent().unwrap().join(file),
            };
            let leads = match fs::read_to_string(&there) {
                Ok(text) => heading.is_empty() || anchors(&text).iter().any(|a| a == heading),
                Err(_) => there.exists() && heading.is_empty(),
            };
            if !leads {
                wrong.push(format!("{}: {link}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn files_that_the_map_names_are_there() {
    let mut wrong = Vec::new();
    for name in ["ARCHITECTURE.md", "CONTRIBUTING.md", "docs/design/invariants.md"] {
        for path in quoted(&document(name)) {
            let is_path = path.ends_with(".rs") || path.ends_with(".md") || path.ends_with('/');
            let places = [root().join(&path), root().join("src").join(&path)];
            // With a leading slash it is a place of the machine.
            if is_path && !path.starts_with('/') && !places.iter().any(|place| place.exists()) {
                wrong.push(format!("{name}: {path}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_map_has_the_floor_plan_and_every_room() {
    let (map, crate_doc) = (document("ARCHITECTURE.md"), document("src/lib.rs"));
    for room in crate_doc.lines().filter_map(|line| line.strip_prefix("pub mod ")) {
        let row = format!("\n| `{}` |", room.trim_end_matches(';'));
        assert!(map.contains(&row), "{row} is not among the rooms");
    }
    for line in crate_doc.lines().skip_while(|line| !line.ends_with("```text")).skip(1) {
        let line = line.strip_prefix("//!").unwrap_or_default().trim();
        if line == "```" {
            break;
        }
        assert!(map.contains(line), "the map's plan lacks: {line}");
    }
}

#[test]
fn every_invariant_names_tests_that_are_there() {
    let text = document("docs/design/invariants.md");
    let rows: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with("| ") && line.contains("**"))
        .map(|line| line.trim_end_matches(" |").rsplit(" | ").next().unwrap())
        .collect();
    assert_eq!(rows.len(), 14);
    for held_by in rows {
        let mut names = quoted(held_by);
        names.retain(|name| !name.contains('/') && name.chars().all(char::is_lowercase));
        let named =
            held_by.contains("simulator") || held_by.contains("tests/") || !names.is_empty();
        assert!(named, "held by nothing: {held_by}");
        for name in names {
            let mut folders = fs::read_dir(root().join("tests/it")).unwrap();
            let is_there = folders.any(|f| f.unwrap().path().join(format!("{name}.rs")).exists());
            assert!(is_there, "{held_by}: tests/it has no {name}.rs");
        }
    }
}
