//! What a server says unasked: its settings, notices, notifications.
//!
//! Pure. All of it can come at any time, in the middle of any reply
//! (<https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-ASYNC>), and as much of it
//! as the server likes: so what is kept is bounded, and the oldest goes first.

use std::collections::{BTreeMap, VecDeque};

use crate::{
    pg::SqlState,
    wire::{BackendMessage, ServerError},
};

/// How many settings of a server are remembered. Servers report some fifteen; one that invents
/// names without end is not believed. A name and its value together are at most
/// [`SHORT_FRAME_BYTES`](crate::wire::caps::SHORT_FRAME_BYTES).
pub const PARAMETERS_MAX: usize = 256;

/// How many notices are kept until somebody asks for them. A statement has a handful; a loop in a
/// function can have a million.
pub const NOTICES_MAX: usize = 64;

/// How many notifications are kept until somebody asks for them. A payload has 8,000 bytes at most
/// (`NOTIFY_PAYLOAD_MAX_LENGTH` in `async.c`).
pub const NOTIFICATIONS_MAX: usize = 256;

/// What is kept of a notification's texts: a real server's are shorter.
const PAYLOAD_BYTES_MAX: usize = 8_000;

/// What NOTIFY has sent to a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// The server process of the session that sent it.
    pub process_id: i32,
    /// The channel.
    pub channel: String,
    /// The payload, which may be empty.
    pub payload: String,
}

/// The newest of each kind.
#[derive(Debug, Default)]
pub(super) struct Reports {
    parameters: BTreeMap<String, String>,
    notices: VecDeque<ServerError>,
    last_words: Option<Box<ServerError>>,
    notifications: VecDeque<Notification>,
}

impl Reports {
    /// Takes a message that may come at any time; `false` if it is of another kind.
    pub(super) fn take(&mut self, message: &BackendMessage<'_>) -> bool {
        match message {
            BackendMessage::NoticeResponse(notice) => {
                tracing::debug!(severity = notice.severity, "server notice: {notice}");
                keep(&mut self.notices, (**notice).clone(), NOTICES_MAX);
                if is_last_word(notice) {
                    self.last_words = Some(notice.clone());
                }
            }
            BackendMessage::ParameterStatus { name, value } => {
                if self.parameters.len() < PARAMETERS_MAX || self.parameters.contains_key(*name) {
                    self.parameters.insert((*name).to_owned(), (*value).to_owned());
                }
            }
            BackendMessage::NotificationResponse(n) => {
                let notification = Notification {
                    process_id: n.process_id,
                    channel: start(n.channel),
                    payload: start(n.payload),
                };
                keep(&mut self.notifications, notification, NOTIFICATIONS_MAX);
            }
            _ => return false,
        }
        true
    }

    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }

    pub(super) fn take_notices(&mut self) -> Vec<ServerError> {
        self.notices.drain(..).collect()
    }

    /// Why the server was about to end the session, if it has said so.
    pub(super) const fn take_last_words(&mut self) -> Option<Box<ServerError>> {
        self.last_words.take()
    }

    pub(super) fn take_notifications(&mut self) -> Vec<Notification> {
        self.notifications.drain(..).collect()
    }
}

/// A server whose process has died, or that is stopped at once, says so with a warning and then
/// closes the connection (`quickdie` in `postgres.c`).
fn is_last_word(notice: &ServerError) -> bool {
    let ends = [SqlState::ADMIN_SHUTDOWN, SqlState::CRASH_SHUTDOWN];
    notice.severity == "WARNING" && notice.code.is_some_and(|code| ends.contains(&code))
}

fn keep<T>(queue: &mut VecDeque<T>, item: T, most: usize) {
    if queue.len() == most {
        queue.pop_front();
    }
    queue.push_back(item);
}

fn start(text: &str) -> String {
    text.get(..text.floor_char_boundary(PAYLOAD_BYTES_MAX)).unwrap_or(text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire;

    fn notification(payload: &str) -> BackendMessage<'_> {
        BackendMessage::NotificationResponse(wire::Notification {
            process_id: 1,
            channel: "c",
            payload,
        })
    }

    #[test]
    fn settings_are_remembered_up_to_their_cap_and_the_known_ones_still_change() {
        let mut reports = Reports::default();
        let mut tell = |name: &str, value: &str| {
            assert!(reports.take(&BackendMessage::ParameterStatus { name, value }));
            reports.parameter(name).map(str::to_owned)
        };
        for n in 0..PARAMETERS_MAX {
            assert_eq!(tell(&n.to_string(), "x").as_deref(), Some("x"), "{n}");
        }
        assert_eq!(tell("one more", "x"), None);
        assert_eq!(tell("0", "y").as_deref(), Some("y"));
    }

    #[test]
    fn the_newest_notices_are_kept_up_to_their_cap() {
        let mut reports = Reports::default();
        for n in 0..=NOTICES_MAX {
            let notice = ServerError { message: n.to_string(), ..Default::default() };
            assert!(reports.take(&BackendMessage::NoticeResponse(Box::new(notice))));
        }
        let notices = reports.take_notices();
        assert_eq!(notices.len(), NOTICES_MAX);
        assert_eq!(notices[0].message, "1");
        assert!(reports.take_notices().is_empty());
    }

    #[test]
    fn a_warning_that_the_session_ends_is_its_last_word() {
        let mut reports = Reports::default();
        for (severity, code, is_last) in [
            ("NOTICE", "57P02", false),
            ("WARNING", "01000", false),
            ("WARNING", "57P01", true),
            ("WARNING", "57P02", true),
        ] {
            let notice = ServerError {
                severity: severity.into(),
                code: SqlState::from_bytes(code.as_bytes()),
                ..Default::default()
            };
            reports.take(&BackendMessage::NoticeResponse(Box::new(notice)));
            assert_eq!(reports.take_last_words().is_some(), is_last, "{severity} {code}");
        }
    }

    #[test]
    fn the_newest_notifications_are_kept_up_to_their_cap() {
        let mut reports = Reports::default();
        for n in 0..=NOTIFICATIONS_MAX {
            assert!(reports.take(&notification(&n.to_string())));
        }
        let kept = reports.take_notifications();
        assert_eq!((kept.len(), kept[0].payload.as_str()), (NOTIFICATIONS_MAX, "1"));
        for (sent, kept) in
            [(PAYLOAD_BYTES_MAX, PAYLOAD_BYTES_MAX), (PAYLOAD_BYTES_MAX + 1, PAYLOAD_BYTES_MAX)]
        {
            reports.take(&notification(&"x".repeat(sent)));
            assert_eq!(reports.take_notifications()[0].payload.len(), kept);
        }
    }

    #[test]
    fn replies_are_left_to_their_requests() {
        assert!(!Reports::default().take(&BackendMessage::BindComplete));
    }
}
