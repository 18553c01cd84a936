//! How a run that failed ends: three lines on stderr, one event in JSON, an exit code.

use std::process::ExitCode;

use super::{progress, screen::Screen};
use crate::migrate::{Event, Failure, Listener};

/// Shows a failure and gives the exit code that belongs to it.
pub(super) fn show(failure: &Failure, json: bool, screen: &Screen) -> ExitCode {
    if json {
        progress::json(screen).on(&event(failure));
    }
    screen.note(&lines(failure));
    ExitCode::from(failure.exit.code())
}

fn event(failure: &Failure) -> Event {
    Event::Error {
        code: failure.exit.code(),
        sqlstate: failure.sqlstate.map(|code| code.to_string()),
        message: failure.message.clone(),
        state: failure.state.clone(),
        hint: failure.hint.clone(),
    }
}

/// Three lines, whatever a server put into its message: its line ends become spaces, and what
/// could steer the terminal is left out.
fn lines(failure: &Failure) -> String {
    let tame = |text: &str| {
        let words: Vec<_> = text.split_whitespace().collect();
        words.join(" ").replace(char::is_control, "")
    };
    Failure {
        message: tame(&failure.message),
        state: tame(&failure.state),
        hint: tame(&failure.hint),
        ..*failure
    }
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::SqlState;

    fn failure() -> Failure {
        Failure {
            sqlstate: Some(SqlState::UNIQUE_VIOLATION),
            ..Failure::refused("no\n\tway \u{1b}[2J(SQLSTATE 23505)", "mend it")
        }
    }

    #[test]
    fn an_error_is_three_lines_whatever_is_in_it() {
        assert_eq!(
            lines(&failure()),
            "error: no way [2J(SQLSTATE 23505)\n\
             state: nothing was changed on either server\n\
             next:  mend it"
        );
    }

    #[test]
    fn the_json_event_has_every_field() {
        let json = serde_json::to_value(event(&failure())).unwrap();
        assert_eq!(json["event"], "error");
        assert_eq!(json["code"], 2);
        assert_eq!(json["sqlstate"], "23505");
        assert_eq!(json["message"], failure().message);
        assert_eq!(json["state"], "nothing was changed on either server");
        assert_eq!(json["hint"], "mend it");
    }
}
