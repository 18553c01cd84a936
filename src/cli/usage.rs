//! From clap's errors to the three lines that every error has.
//!
//! No value that was typed is repeated: a value in the wrong place may be a connection string
//! with its password. Names of options are.

use std::ffi::OsString;

use clap::{
    CommandFactory,
    error::{ContextKind, ContextValue, Error, ErrorKind},
};

use super::args::Args;
use crate::migrate::Failure;

/// The refusal of a command line that can't be read.
pub(super) fn refusal(error: &Error, typed: &[OsString]) -> Failure {
    let help = match typed.get(1).and_then(|command| command.to_str()) {
        Some(command) if Args::command().find_subcommand(command).is_some() => {
            format!("`pghost {command} --help` lists the options")
        }
        _ => "`pghost --help` lists the commands; `pghost demo` needs no arguments".to_owned(),
    };
    let hint = match suggestion(error) {
        Some(better) => format!("did you mean {better}? {help}"),
        None => help,
    };
    Failure::refused(message(error), hint)
}

/// Whether JSON was asked for on a command line that can't be read otherwise.
pub(super) fn asks_for_json(typed: &[OsString]) -> bool {
    let apart = |pair: &[OsString]| matches!(pair, [a, b] if a == "--progress" && b == "json");
    let is_check = typed.iter().any(|word| word == "check");
    typed.iter().any(|word| word == "--progress=json" || is_check && word == "--json")
        || typed.windows(2).any(apart)
}

fn message(error: &Error) -> String {
    let argument = text(error, ContextKind::InvalidArg);
    let option = argument.map_or("an option", option_of);
    match error.kind() {
        ErrorKind::UnknownArgument => match argument.and_then(unknown_option) {
            Some(name) => format!("there is no option {name} here"),
            None => "a word stands there that belongs to no option \
                     (it isn't shown, since it may be a part of a secret)"
                .into(),
        },
        ErrorKind::InvalidSubcommand => {
            match text(error, ContextKind::InvalidSubcommand).filter(|name| is_word(name)) {
                Some(name) => format!("there is no command {name}"),
                None => "the first word is not a command".into(),
            }
        }
        ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            "no command was given".into()
        }
        ErrorKind::InvalidValue => invalid_value(error, option),
        ErrorKind::ValueValidation => match std::error::Error::source(error) {
            Some(reason) => format!("{option}: {reason}"),
            None => format!("{option}: its value can't be used"),
        },
        ErrorKind::ArgumentConflict => format!("{option} may be given only once"),
        ErrorKind::InvalidUtf8 => "an argument or GHOST_ variable is not UTF-8".into(),
        kind => kind.as_str().unwrap_or("the arguments can't be read").to_owned(),
    }
}

fn invalid_value(error: &Error, option: &str) -> String {
    let values = match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(values)) if !values.is_empty() => {
            format!(": one of {}", values.join(", "))
        }
        _ => String::new(),
    };
    match text(error, ContextKind::InvalidValue) {
        Some("") | None => format!("{option} needs a value{values}"),
        Some(_) => format!("{option} does not take that value{values}"),
    }
}

fn suggestion(error: &Error) -> Option<&str> {
    text(error, ContextKind::SuggestedArg)
        .or_else(|| text(error, ContextKind::SuggestedSubcommand))
        .or_else(|| match error.get(ContextKind::SuggestedSubcommand)? {
            ContextValue::Strings(names) => names.first().map(String::as_str),
            _ => None,
        })
}

fn text(error: &Error, kind: ContextKind) -> Option<&str> {
    match error.get(kind)? {
        ContextValue::String(text) => Some(text),
        _ => None,
    }
}

/// `--page-rows` of clap's `--page-rows <N>`.
fn option_of(argument: &str) -> &str {
    argument.split(' ').next().unwrap_or(argument)
}

/// The name of an unknown option without a value that hangs on it; `None` for what is no option.
fn unknown_option(argument: &str) -> Option<&str> {
    if let Some(long) = argument.strip_prefix("--") {
        let letter = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let end = long.find(|c| !letter(c)).unwrap_or(long.len());
        return argument.get(..2 + end).filter(|_| end > 0);
    }
    let short = argument.strip_prefix('-')?.chars().next()?;
    argument.get(..1 + short.len_utf8())
}

fn is_word(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_alphabetic() || c == '-')
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::args::Args;

    fn refused(line: &str) -> Failure {
        let typed: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        refusal(&Args::try_parse_from(&typed).unwrap_err(), &typed)
    }

    #[test]
    fn each_mistake_has_its_sentence() {
        let table = [
            ("pghost", "no command was given"),
            ("pghost migrat", "there is no command migrat"),
            ("pghost postgres://u:pw@h", "the first word is not a command"),
            ("pghost migrate --sorce=pw", "there is no option --sorce here"),
            ("pghost migrate -xpw", "there is no option -x here"),
            ("pghost migrate --slot", "--slot needs a value"),
            (
                "pghost migrate --then pw",
                "--then does not take that value: one of stop, follow, handoff",
            ),
            ("pghost migrate --then", "--then needs a value: one of stop, follow, handoff"),
            ("pghost migrate --page-rows 0", "--page-rows: a whole number from 1 on is needed"),
            (
                "pghost migrate --copy-jobs pw",
                "--copy-jobs: a whole number from 1 to 100 is needed",
            ),
            ("pghost demo --rows 1 --rows 2", "--rows may be given only once"),
        ];
        for (line, expected) in table {
            let failure = refused(line);
            assert_eq!(failure.message, expected, "{line}");
            assert!(!failure.to_string().contains("pw"), "{line}: {failure}");
        }
        let stray = refused("pghost migrate pw").message;
        assert!(stray.starts_with("a word stands there") && !stray.contains("pw"));
    }

    #[test]
    fn the_likely_meaning_is_offered() {
        let option = refused("pghost migrate --sorce x").hint;
        assert!(option.starts_with("did you mean --source? `pghost migrate --help`"), "{option}");
        let command = refused("pghost migrat").hint;
        assert!(command.starts_with("did you mean migrate? "), "{command}");
    }

    #[test]
    fn json_is_recognised_in_a_line_that_is_wrong_otherwise() {
        let typed = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        assert!(asks_for_json(&typed("pghost migrate --progress json --x")));
        assert!(asks_for_json(&typed("pghost --x --progress=json")));
        assert!(!asks_for_json(&typed("pghost --progress plain json")));
    }
}
