//! `--config FILE`: options from a TOML file.
//!
//! ```text
//!   key = value    ──>   --key=value    ──>   read together with what was typed
//! ```
//!
//! A key is an option's long name, and its value is read as the option's: what a file may hold and
//! what is wrong with it is decided by the command line's definition alone. What was typed, or
//! stands in a GHOST_ variable, wins. A file may hold passwords: nothing of its values is repeated,
//! and neither are lines of it that can't be read.

use std::{
    ffi::OsString,
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use clap::{
    Arg, ArgAction, ArgMatches, Command, CommandFactory, FromArgMatches, Parser,
    parser::ValueSource,
};
use toml::de::{DeTable, DeValue};

use super::{args::Args, usage};
use crate::{
    config::{Config, Surroundings},
    migrate::Failure,
};

/// What a file can't hold: what is of one invocation only.
const NOT_IN_A_FILE: [&str; 6] = ["config", "help", "version", "json", "dry-run", "rows"];

/// One key of a file.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    key: String,
    line: usize,
    values: Vec<Value>,
}

#[derive(Debug, PartialEq, Eq)]
enum Value {
    Text(String),
    Flag(bool),
}

/// Reads what was typed, and the file that it names, if it does.
///
/// Errors: the file can't be read, has a key that is no option, or a value that it does not take;
/// or clap's, about what was typed.
pub(super) fn read(typed: &[OsString]) -> Result<(Args, Option<String>), Wrong> {
    let mut whole = Args::command();
    let matches = whole.try_get_matches_from_mut(typed).map_err(Wrong::Typed)?;
    let Some(path) = matches.get_one::<PathBuf>("config") else {
        return Args::from_arg_matches(&matches).map_err(Wrong::Typed).map(|args| (args, None));
    };
    let text = fs::read_to_string(path).map_err(|error| {
        Wrong::File(Failure::refused(
            format!("the file {} can't be read: {error}", path.display()),
            "mend --config, or the file's permissions",
        ))
    })?;
    whole.build();
    let words = words(&whole, &matches, &text).map_err(|wrong| Wrong::File(wrong.of(path)))?;
    let all = typed.iter().cloned().chain(words.into_iter().map(OsString::from));
    let args = Args::try_parse_from(all).map_err(Wrong::Typed)?;
    Ok((args, is_open_to_others(path, &text)))
}

/// A warning, if others may read a password in the file: `.pgpass` is not even read then. Whatever
/// spelling a connection string has, it is read as one, without the machine's own settings.
fn is_open_to_others(path: &Path, text: &str) -> Option<String> {
    let mode = fs::metadata(path).ok()?.permissions().mode();
    if mode & 0o077 == 0 {
        return None;
    }
    let alone = Surroundings {
        env: &|_| None,
        read_file: &|_| Err(io::ErrorKind::NotFound.into()),
        exists: &|_| false,
        // A string may leave the user out.
        os_user: Some("anybody"),
        home: None,
    };
    let holds_password = |value: &Value| match value {
        Value::Text(text) => match Config::parse(text, &alone) {
            Ok(dsn) => dsn.password.is_some(),
            // A service, say, whose file is not read here.
            Err(_) => text.contains("password"),
        },
        Value::Flag(_) => false,
    };
    let entries = entries(text).ok()?;
    entries.iter().flat_map(|entry| &entry.values).any(holds_password).then(|| {
        format!(
            "{0} holds a password and others than you may use that file: chmod 600 {0}",
            path.display()
        )
    })
}

/// What is wrong.
pub(super) enum Wrong {
    /// With what was typed; or it asks for help.
    Typed(clap::Error),
    /// With the file.
    File(Failure),
}

/// What is wrong with a file, and where.
#[derive(Debug)]
struct InFile {
    line: usize,
    what: String,
    hint: String,
}

impl InFile {
    fn of(self, path: &Path) -> Failure {
        let place = format!("{}, line {}", path.display(), self.line);
        Failure::refused(format!("{place}: {}", self.what), self.hint)
    }
}

/// The words that stand for the file's keys, without those that were typed.
fn words(whole: &Command, typed: &ArgMatches, text: &str) -> Result<Vec<String>, InFile> {
    let Some((name, matches)) = typed.subcommand() else {
        return Ok(Vec::new());
    };
    let Some(command) = whole.find_subcommand(name) else {
        return Ok(Vec::new());
    };
    let mut all = Vec::new();
    for entry in entries(text)? {
        if !is_known(whole, &entry.key) {
            return Err(unknown(whole, &entry));
        }
        let Some(argument) = option(command, &entry.key) else {
            // An option of another command: a file serves several.
            continue;
        };
        let words = of_entry(argument, &entry)?;
        usable(name, &entry, &words)?;
        if !is_given(matches, argument) {
            all.extend(words);
        }
    }
    Ok(all)
}

fn option<'a>(command: &'a Command, key: &str) -> Option<&'a Arg> {
    command.get_arguments().find(|argument| argument.get_long() == Some(key))
}

fn is_known(whole: &Command, key: &str) -> bool {
    !NOT_IN_A_FILE.contains(&key)
        && whole.get_subcommands().any(|command| option(command, key).is_some())
}

fn unknown(whole: &Command, entry: &Entry) -> InFile {
    let dashed = entry.key.replace('_', "-").to_lowercase();
    let hint = match is_known(whole, &dashed) {
        true => format!("spell it {dashed}"),
        false => "keys are the long names of options, without their dashes in front; \
                  `pghost migrate --help` lists them"
            .to_owned(),
    };
    // A key is shown only if it looks like one: what stands in its place may be a secret.
    let word = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let what = match entry.key.len() <= 40 && entry.key.chars().all(word) {
        true => format!("there is no key {}", entry.key),
        false => "there is no such key".to_owned(),
    };
    InFile { line: entry.line, what, hint }
}

/// Whether it was typed, or stands in a variable that is not empty.
fn is_given(matches: &ArgMatches, argument: &Arg) -> bool {
    let id = argument.get_id().as_str();
    match matches.value_source(id) {
        Some(ValueSource::CommandLine) => true,
        Some(ValueSource::EnvVariable) => {
            matches.get_raw(id).into_iter().flatten().any(|value| !value.is_empty())
        }
        _ => false,
    }
}

/// The words that mean the same on a command line.
fn of_entry(argument: &Arg, entry: &Entry) -> Result<Vec<String>, InFile> {
    let Entry { key, line, values } = entry;
    let wrong = |what: &str| InFile {
        line: *line,
        what: format!("{key} {what}"),
        hint: "write a key's value as the option of its name takes it".into(),
    };
    let takes_value = argument.get_action().takes_values();
    if values.len() != 1 && !matches!(argument.get_action(), ArgAction::Append) {
        return Err(wrong("takes one value, and no list"));
    }
    let mut words = Vec::new();
    for value in values {
        match value {
            Value::Text(text) if takes_value => words.push(format!("--{key}={text}")),
            Value::Flag(is_on) if !takes_value => words.extend(is_on.then(|| format!("--{key}"))),
            Value::Text(_) => return Err(wrong("is true or false")),
            Value::Flag(_) => return Err(wrong("needs a text or a number")),
        }
    }
    Ok(words)
}

/// Whether the command takes these words, by themselves.
fn usable(command: &str, entry: &Entry, words: &[String]) -> Result<(), InFile> {
    // Besides what it asks for in any case.
    let line = ["pghost", command].into_iter().chain(words.iter().map(String::as_str));
    let Err(error) = Args::command().try_get_matches_from(line) else {
        return Ok(());
    };
    if error.kind() == clap::error::ErrorKind::MissingRequiredArgument {
        return Ok(());
    }
    let Failure { message, .. } = usage::refusal(&error, &[]);
    let hint = format!("`pghost {command} --help` tells what --{} takes", entry.key);
    Err(InFile { line: entry.line, what: message, hint })
}

/// The keys and values of a file.
fn entries(text: &str) -> Result<Vec<Entry>, InFile> {
    let line_at = |at: usize| text.get(..at).map_or(1, |before| before.matches('\n').count() + 1);
    let table = DeTable::parse(text).map_err(|error| InFile {
        line: error.span().map_or(1, |span| line_at(span.start)),
        // The parser's message tells what it expected, never what stands there.
        what: format!("this is not TOML: {}", error.message()),
        hint: "write key = \"value\"; texts stand in quotes, lists in [ ]".into(),
    })?;
    let mut entries = Vec::new();
    for (key, value) in table.into_inner() {
        let line = line_at(key.span().start);
        let key = key.into_inner().into_owned();
        let values = match value.into_inner() {
            DeValue::Array(list) => {
                list.into_iter().map(|value| of_value(&value.into_inner())).collect()
            }
            value => of_value(&value).map(|value| vec![value]),
        };
        let Some(values) = values else {
            return Err(InFile {
                line,
                what: "a value is a text, a number, true, false, or a list of texts".into(),
                hint: "write keys without [sections]: key = \"value\"".into(),
            });
        };
        entries.push(Entry { key, line, values });
    }
    entries.sort_by_key(|entry| entry.line);
    Ok(entries)
}

fn of_value(value: &DeValue<'_>) -> Option<Value> {
    Some(match value {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Value::Text(number.as_str().to_owned()),
        DeValue::Boolean(flag) => Value::Flag(*flag),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(command: &[&str], text: &str) -> Result<Vec<String>, InFile> {
        let mut whole = Args::command();
        let line = ["pghost"].iter().chain(command);
        let matches = whole.try_get_matches_from_mut(line).unwrap();
        whole.build();
        words(&whole, &matches, text)
    }

    #[test]
    fn keys_are_options_and_what_was_typed_wins() {
        let text = "table = [\"a\", \"b=c\"]\n# comment\npage-rows = 5_000\ndefer-indexes = true\n\
                    ignore-new-columns = false\nprogress = \"json\"\n";
        let words = of(&["migrate"], text).unwrap();
        let all = ["--table=a", "--table=b=c", "--page-rows=5000", "--defer-indexes"];
        assert_eq!(words, [&all[..], &["--progress=json"]].concat());
        let typed = ["migrate", "--table", "z", "--progress", "off"];
        assert_eq!(of(&typed, text).unwrap(), ["--page-rows=5000", "--defer-indexes"]);
    }

    #[test]
    fn what_a_command_has_no_option_for_is_left_to_the_others() {
        assert_eq!(of(&["status"], "target = \"x\"\ntable = \"t\"").unwrap(), ["--target=x"]);
    }

    #[test]
    fn each_mistake_is_told_with_its_key_and_line_and_without_its_value() {
        for (text, line, what) in [
            ("\ntabel = \"hunter2\"", 2, "there is no key tabel"),
            ("page_rows = 5", 1, "there is no key page_rows"),
            ("config = \"x\"", 1, "there is no key config"),
            ("\"postgres://u:hunter2@h\" = 1", 1, "there is no such key"),
            ("then = \"hunter2\"", 1, "--then does not take that value: one of stop, follow"),
            ("page-rows = 0", 1, "--page-rows: a whole number from 1 on is needed"),
            ("page-rows = true", 1, "page-rows needs a text or a number"),
            ("defer-indexes = \"hunter2\"", 1, "defer-indexes is true or false"),
            ("slot = [\"hunter2\", \"b\"]", 1, "slot takes one value, and no list"),
            ("slot = 1.5", 1, "a value is a text"),
            ("[source]\nhost = \"hunter2\"", 1, "a value is a text"),
            ("slot = \"a\"\nslot = \"hunter2\"", 2, "this is not TOML"),
            ("slot = \"a\"\n\nsource = hunter2", 3, "this is not TOML"),
            ("source = \"postgres://u:hunter2@h", 1, "this is not TOML"),
        ] {
            let wrong = of(&["migrate"], text).unwrap_err();
            assert!(wrong.what.starts_with(what), "{text}: {wrong:?}");
            assert_eq!(wrong.line, line, "{text}: {wrong:?}");
            let shown = wrong.of(Path::new("f.toml")).to_string();
            assert!(!shown.contains("hunter2"), "{shown}");
        }
        let wrong = of(&["migrate"], "page_rows = 5").unwrap_err();
        assert_eq!(wrong.hint, "spell it page-rows");
    }

    #[test]
    fn the_example_is_read_and_names_every_option_of_migrate() {
        let text = include_str!("../../docs/example.toml");
        let words = of(&["migrate"], text).unwrap();
        assert!(words.iter().any(|word| word.starts_with("--table=")), "{words:?}");
        let mut whole = Args::command();
        whole.build();
        // What is commented out is right, too.
        let all: String = (text.lines())
            .map(|line| line.strip_prefix("#~ ").unwrap_or(line))
            .flat_map(|line| [line, "\n"])
            .collect();
        of(&["migrate"], &all).unwrap();
        for argument in whole.find_subcommand("migrate").unwrap().get_arguments() {
            let long = argument.get_long().unwrap();
            let there = all.lines().any(|line| line.starts_with(&format!("{long} = ")));
            assert_eq!(there, !NOT_IN_A_FILE.contains(&long), "{long}");
        }
        // `check` and `verify` take all of it, and `verify` some of its own.
        assert_eq!(of(&["check"], &all).unwrap(), of(&["migrate"], &all).unwrap());
        let with_list = format!("{all}list = 3\n");
        let words = of(&["verify"], &with_list).unwrap();
        assert_eq!(words, [of(&["migrate"], &all).unwrap(), vec!["--list=3".into()]].concat());
    }
}
