//! What becomes of a run that meets a fault: one table, and nothing else decides it.
//!
//! `docs/what-if.md` shows the same table to people; a test compares them row by row. Pure: what
//! happened is handed in. How long a run waits, and how, is `patience`'s.

use crate::{apply::ApplyError, backfill::PageError, conn::Error, pg::SqlState, wire::ServerError};

/// What becomes of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It drops its connections, waits (`--wait-for-server`) and goes on by itself. What lasts
    /// longer than that stops it.
    Retry,
    /// It ends with exit code 1; the same command goes on.
    Stop,
    /// It ends with exit code 4: going on would lose changes.
    CannotResume,
    /// It ends with exit code 2 before anything was done.
    Refused,
}

impl Verdict {
    /// In the documentation's words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "waits and goes on",
            Self::Stop => "stops (1)",
            Self::CannotResume => "can't go on (4)",
            Self::Refused => "refused (2)",
        }
    }
}

/// Where a fault was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// On either server.
    Anywhere,
    /// Where the slot is made or read.
    Slot,
}

impl Place {
    /// In the documentation's words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Anywhere => "anywhere",
            Self::Slot => "the slot",
        }
    }
}

/// What a fault is told by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// A server's error code, or its class: the first two characters.
    State(&'static str),
    /// No server could be reached, or none of the right kind.
    Unreachable,
    /// A connection ended without a word, or broke.
    Lost,
    /// A server has not moved for long.
    Silent,
    /// Names, passwords, certificates.
    Login,
    /// What came is no protocol, or none that makes sense.
    Garbled,
    /// The source sends a transaction that it does not show.
    NotShown,
    /// A table was altered on the source.
    Altered,
    /// A function did not find what it names without a schema.
    SearchPath,
    /// The target's table was altered, or something fires on its rows.
    Reshaped,
    /// The target is not what the source's log expects.
    Diverged,
    /// The target took other rows than it was sent.
    Counts,
    /// The ledger's pages of a table leave keys out, or have them twice.
    Gap,
    /// Rows that were copied are not on the target any more.
    Emptied,
    /// The slot is gone, lost, or another one.
    Slot,
    /// Another system identifier, timeline, database or table.
    OtherServer,
    /// The ledger is damaged, or another version's.
    Ledger,
    /// Anything before something was made.
    AtFirst,
    /// Anything else.
    Other,
}

impl Sign {
    /// In the documentation's words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::State(code) => code,
            Self::Unreachable => "no answer",
            Self::Lost => "connection lost",
            Self::Silent => "silence",
            Self::Login => "login",
            Self::Garbled => "garbled",
            Self::NotShown => "not shown",
            Self::Altered => "table altered",
            Self::SearchPath => "in a function",
            Self::Reshaped => "target altered",
            Self::Diverged => "target diverged",
            Self::Counts => "rows kept away",
            Self::Gap => "pages missing",
            Self::Emptied => "target emptied",
            Self::Slot => "slot lost",
            Self::OtherServer => "another server",
            Self::Ledger => "ledger damaged",
            Self::AtFirst => "at the start",
            Self::Other => "anything else",
        }
    }
}

/// One line of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What the fault is told by.
    pub sign: Sign,
    /// Where it must be met for this line to be the one.
    pub place: Place,
    /// What has happened, for people.
    pub what: &'static str,
    /// What becomes of the run.
    pub verdict: Verdict,
    /// What to do, once it has stopped.
    pub next: &'static str,
}

const fn rule(
    sign: Sign,
    place: Place,
    what: &'static str,
    verdict: Verdict,
    next: &'static str,
) -> Rule {
    Rule { sign, place, what, verdict, next }
}

const AGAIN: &str = "give the same command again; it goes on where it stopped";
/// What to do about a server that is away.
pub const SERVER: &str = "see that the server runs and can be reached, then give the same \
         command \
                      again; it goes on where it stopped";
/// What to do about a database that is away.
const GONE: &str = "rename or restore the database and give the same command again; if it is gone \
                    for good, drop what is left on the source, slot and publication \
                    (pg_drop_replication_slot, DROP PUBLICATION), and start again";
const MEND: &str = "mend the cause and give the same command again; it goes on where it stopped";

/// What to do when rows must be copied anew.
pub const START_AGAIN: &str = "`pghost cleanup` this migration; drop the target table if pghost \
                               has made it, else empty it; and start again: rows are copied anew";

use Place::{Anywhere, Slot};
use Sign::State;
use Verdict::{CannotResume, Refused, Retry, Stop};

/// The table. The first line that fits is the one.
#[rustfmt::skip]
pub static RULES: &[Rule] = &[
    // The slot's own codes, which mean less elsewhere.
    rule(State("42704"), Slot,
        "the slot or the publication was dropped", CannotResume, START_AGAIN),
    rule(State("55000"), Slot,
        "the slot was invalidated, or is not ours", CannotResume, START_AGAIN),
    rule(State("55006"), Slot, "another session reads the slot", Retry,
        "stop who reads it: pg_stat_replication on the source tells who; then give the same \
         command again"),
    // Servers that go away.
    rule(State("57P01"), Anywhere, "a shutdown, or pg_terminate_backend", Retry, SERVER),
    rule(State("57P02"), Anywhere,
        "a crash of a server process; the server recovers", Retry, SERVER),
    rule(State("57P03"), Anywhere, "the server starts, stops or recovers", Retry, SERVER),
    rule(State("57P04"), Anywhere, "the database was dropped", Stop, GONE),
    rule(State("3D000"), Anywhere, "the database is not there: dropped or renamed", Stop, GONE),
    rule(State("57P05"), Anywhere, "idle_session_timeout", Retry, AGAIN),
    rule(State("57014"), Anywhere,
        "a statement was cancelled, or statement_timeout", Retry, AGAIN),
    rule(State("25P03"), Anywhere, "idle_in_transaction_session_timeout", Retry, AGAIN),
    rule(State("25P04"), Anywhere, "transaction_timeout", Retry, AGAIN),
    rule(Sign::Unreachable, Anywhere,
        "no server answers, or none that can be written to", Retry, SERVER),
    rule(Sign::Lost, Anywhere, "an immediate shutdown, a crash, a broken network", Retry, SERVER),
    rule(Sign::Silent, Anywhere, "a server or the network stands still", Retry, SERVER),
    rule(State("08P01"), Anywhere, "one side does not understand the other", Stop,
        "see what is between pghost and the server, such as a proxy, and give the same \
         command again"),
    rule(State("08"), Anywhere, "the server could not keep a connection", Retry, SERVER),
    // Servers that are too small.
    rule(State("53300"), Anywhere, "too many connections", Retry,
        "end other sessions, or raise the limit that the message names (max_connections; \
         CONNECTION LIMIT of the role or the database), then give the same command again"),
    rule(State("53100"), Anywhere, "the disk is full", Stop,
        "make room on that server's disk and give the same command again; it goes on where it \
         stopped"),
    rule(State("53200"), Anywhere, "out of memory", Retry,
        "make memory free on that server, use a smaller --page-rows, or raise \
         max_locks_per_transaction if the message names it, and give the same command again"),
    rule(State("53"), Anywhere, "another limit of the server", Stop, MEND),
    // Servers that say no for now.
    rule(State("25006"), Anywhere, "read-only after a failover", Retry,
        "name the server that can be written to (several hosts with \
         target_session_attrs=read-write find it), and give the same command again"),
    rule(State("40"), Anywhere,
        "a deadlock, a serialization failure, a conflict with a standby's recovery",
        Retry, AGAIN),
    rule(State("55P03"), Anywhere, "a lock was not to be had, or lock_timeout", Retry,
        "see who holds the lock (pg_locks), then give the same command again"),
    rule(Sign::NotShown, Anywhere,
        "a commit on the source waits for a synchronous standby", Retry,
        "see that synchronous_standby_names does not name pghost's walsender, then give the \
         same command again"),
    // What waiting does not mend.
    rule(State("28"), Anywhere, "the server does not let pghost in", Stop,
        "check user, password and the server's pg_hba.conf; the same command goes on where it \
         stopped"),
    rule(Sign::Login, Anywhere,
        "a login failed on our side: password, certificate, encryption", Stop,
        "check user, password and TLS settings; the same command goes on where it stopped"),
    rule(State("42501"), Anywhere, "a right was taken away", Stop,
        "grant the role what the message asks for; the same command goes on where it stopped"),
    rule(State("22"), Anywhere,
        "the source can't give a value, or the target can't hold it", Stop, MEND),
    rule(State("23"), Anywhere, "a constraint of the target refuses a row", Stop,
        "drop the constraint or mend what it speaks of, and give the same command again"),
    rule(Sign::SearchPath, Anywhere,
        "a function of a table's definition does not find what it names without a schema", Stop,
        "pghost's search_path is empty, as that of native replication: ALTER FUNCTION .. SET \
         search_path = .. for the function that the message's context names, on that server, and \
         give the same command again"),
    rule(State("42"), Anywhere, "a table, column or other object is not what it was", Stop, MEND),
    rule(Sign::Garbled, Anywhere,
        "what came can't be understood: damage on the way, or a bug", Stop,
        "use TLS, which notices damage, and give the same command again; if it stays, report \
         the message"),
    rule(Sign::Counts, Anywhere, "a trigger or rule on the target keeps rows away", Stop,
        "drop or disable it and give the same command again"),
    rule(Sign::Reshaped, Anywhere,
        "the target's table was altered under the run, or has a trigger or rule that fires on its \
         rows", Stop,
        "make it what it was, drop or disable what fires, and give the same command again; it \
         goes on where it stopped"),
    rule(Sign::Diverged, Anywhere, "something else writes to the target", Stop,
        "stop what else writes to the target table and put back the rows that it took away, as \
         the source has them now; then give the same command again, and let `pghost verify` \
         compare; or `pghost cleanup`, empty the target table and start again"),
    rule(Sign::Gap, Anywhere,
        "a line of the ledger's pages was removed or changed while rows were copied, or a bug: the \
         table is not taken for whole", Stop,
        "see that nobody writes to the ledger, and give the same command again: it copies what is \
         missing. If that meets rows that are there already: `pghost cleanup`, empty the target \
         table or drop it if pghost has made it, and start again; if nobody has touched the \
         ledger, report the message"),
    // What can't be made good by going on.
    rule(Sign::Emptied, Anywhere,
        "the target was emptied, or it or a column of it was dropped and made again, after rows \
         were copied to it",
        CannotResume, START_AGAIN),
    rule(Sign::Altered, Anywhere,
        "the table's definition, or the order of its key, has changed on the source",
        CannotResume, START_AGAIN),
    rule(Sign::Slot, Slot,
        "the slot is gone, lost, made again, or was read by somebody else, or the source was put \
         back to an earlier state",
        CannotResume, START_AGAIN),
    rule(Sign::OtherServer, Anywhere,
        "another system, timeline, database or table than it was", CannotResume,
        "name the server that it was begun on; if that is gone: `pghost cleanup`, and start \
         again"),
    rule(Sign::Ledger, Anywhere,
        "the ledger was made by another version, or only part of it was restored",
        CannotResume, "restore the ledger's schema whole, or use the pghost that began the \
         migration"),
    // Whatever it is, as long as nothing was made.
    rule(Sign::AtFirst, Anywhere, "any of these before something was made", Refused,
        "mend what the message names, and try again"),
    rule(Sign::Other, Anywhere, "anything else", Stop, MEND),
];

/// Used where no line fits, which the last one does.
const LAST: Rule = rule(Sign::Other, Anywhere, "anything else", Stop, MEND);

/// The line for a sign.
#[must_use]
pub fn rule_of(sign: Sign) -> &'static Rule {
    RULES.iter().find(|rule| rule.sign == sign).unwrap_or(&LAST)
}

/// The line for a server's error code.
#[must_use]
pub fn rule_of_state(state: SqlState, place: Place) -> &'static Rule {
    let fits = |rule: &&Rule| match rule.sign {
        State(code) => {
            (rule.place == Anywhere || rule.place == place) && state.as_str().starts_with(code)
        }
        _ => false,
    };
    RULES.iter().find(fits).unwrap_or(&LAST)
}

/// The line for a failure of a connection.
#[must_use]
pub fn rule_of_error(error: &Error, place: Place) -> &'static Rule {
    match error {
        Error::Server(server) if is_search_path(server) => rule_of(Sign::SearchPath),
        Error::Server(server) => match server.code {
            Some(state) => rule_of_state(state, place),
            None => rule_of(Sign::Garbled),
        },
        Error::Unreachable { .. } | Error::ConnectTimeout { .. } | Error::WrongServer { .. } => {
            rule_of(Sign::Unreachable)
        }
        Error::Io(_) | Error::Closed => rule_of(Sign::Lost),
        Error::Silent { .. } => rule_of(Sign::Silent),
        Error::Tls(_) | Error::Authentication(_) => rule_of(Sign::Login),
        // Several servers, or one in two ways: while one of them may come back, it is waited for.
        Error::NoServer(all) => first_that_waits(all.iter(), place),
        Error::BothWays { first, second } => {
            first_that_waits([second.as_ref(), first.as_ref()].into_iter(), place)
        }
        Error::Malformed(_)
        | Error::Frame(_)
        | Error::Unexpected { .. }
        | Error::Flooded { .. }
        | Error::ProtocolVersion { .. } => rule_of(Sign::Garbled),
        _ => rule_of(Sign::Other),
    }
}

/// Whether something was not found by what is not a statement of pghost's own: a function. COPY
/// tells its line as the context, too, in words that begin so in every language.
fn is_search_path(error: &ServerError) -> bool {
    let not_found =
        [SqlState::UNDEFINED_FUNCTION, SqlState::UNDEFINED_TABLE, SqlState::UNDEFINED_OBJECT];
    let mut contexts = error.context.as_deref().into_iter().flat_map(str::lines);
    error.code.is_some_and(|code| not_found.contains(&code))
        && contexts.any(|line| !line.starts_with("COPY "))
}

fn first_that_waits<'a>(errors: impl Iterator<Item = &'a Error>, place: Place) -> &'static Rule {
    let mut rules = errors.map(|error| rule_of_error(error, place));
    let first = rules.next().unwrap_or(&LAST);
    match first.verdict {
        Retry => first,
        _ => rules.find(|rule| rule.verdict == Retry).unwrap_or(first),
    }
}

/// The line for a page that failed.
#[must_use]
pub fn rule_of_page(error: &PageError) -> &'static Rule {
    match (error, error.connection_error()) {
        (_, Some(error)) => rule_of_error(error, Anywhere),
        (PageError::Altered { .. }, None) => rule_of(Sign::Altered),
        (PageError::Reshaped { .. }, None) => rule_of(Sign::Reshaped),
        _ => rule_of(Sign::Counts),
    }
}

/// The line for changes that could not be applied.
#[must_use]
pub fn rule_of_apply(error: &ApplyError) -> &'static Rule {
    match error {
        ApplyError::Stream(error) => rule_of_error(error, Slot),
        // The next attempt finds the right one, or says for good that it is another.
        ApplyError::Elsewhere { .. } => rule_of(Sign::Unreachable),
        ApplyError::Fetch { error, .. }
        | ApplyError::Target { error, .. }
        | ApplyError::NotStaged { error, .. }
        | ApplyError::Bound { error, .. } => rule_of_error(error, Anywhere),
        ApplyError::NotShown { .. } => rule_of(Sign::NotShown),
        ApplyError::TableChanged { .. } => rule_of(Sign::Altered),
        ApplyError::Reshaped { .. } => rule_of(Sign::Reshaped),
        ApplyError::Diverged { .. } => rule_of(Sign::Diverged),
        ApplyError::KeptAway { .. } => rule_of(Sign::Counts),
        ApplyError::Undecodable { .. } | ApplyError::Message(_) | ApplyError::OutOfPlace { .. } => {
            rule_of(Sign::Garbled)
        }
        ApplyError::PositionLost { .. } | ApplyError::Interrupted => rule_of(Sign::Other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(code: &str, place: Place) -> Verdict {
        rule_of_state(SqlState::from_bytes(code.as_bytes()).unwrap(), place).verdict
    }

    #[test]
    fn a_code_means_more_at_the_slot() {
        assert_eq!(of("42704", Slot), CannotResume);
        assert_eq!(of("42704", Anywhere), Stop);
        assert_eq!(of("55000", Slot), CannotResume);
        assert_eq!(of("55000", Anywhere), Stop);
        assert_eq!(of("57P01", Slot), Retry);
    }

    #[test]
    fn a_class_is_for_the_codes_that_have_no_line_of_their_own() {
        assert_eq!([of("53300", Anywhere), of("53400", Anywhere)], [Retry, Stop]);
        assert_eq!([of("08006", Anywhere), of("08P01", Anywhere)], [Retry, Stop]);
        assert_eq!([of("40001", Anywhere), of("40P01", Anywhere)], [Retry, Retry]);
        assert_eq!(of("XX000", Anywhere), Stop);
    }

    #[test]
    fn no_line_stands_behind_one_that_takes_its_faults() {
        for (at, rule) in RULES.iter().enumerate() {
            let State(code) = rule.sign else {
                assert!(std::ptr::eq(rule_of(rule.sign), rule), "{rule:?}");
                continue;
            };
            let whole = if code.len() == 2 { format!("{code}999") } else { code.to_owned() };
            let state = SqlState::from_bytes(whole.as_bytes()).unwrap();
            let found = rule_of_state(state, rule.place);
            assert!(std::ptr::eq(found, rule), "{at}: {rule:?} is hidden by {found:?}");
        }
        assert_eq!(RULES.last(), Some(&LAST));
    }

    /// As the documentation shows a line.
    fn shown(rule: &Rule) -> String {
        let sign = match rule.sign {
            State(code) if code.len() == 2 => format!("`{code}`xxx"),
            State(code) => format!("`{code}`"),
            sign => sign.as_str().to_owned(),
        };
        let Rule { place, what, verdict, next, .. } = rule;
        format!("| {sign} | {} | {what} | {} | {next} |", place.as_str(), verdict.as_str())
    }

    #[test]
    fn the_documentation_shows_this_table() {
        let text = include_str!("../../docs/what-if.md");
        let lines = text.lines().skip_while(|line| !line.starts_with("| sign | where |"));
        let lines: Vec<_> = lines.take_while(|line| line.starts_with('|')).skip(2).collect();
        let rules: Vec<_> = RULES.iter().map(shown).collect();
        assert_eq!(lines, rules, "as it must be:\n{}", rules.join("\n"));
    }

    #[test]
    fn while_one_of_several_servers_may_come_back_it_is_waited_for() {
        let refused = || Error::Server(Box::default());
        let all = Error::NoServer(vec![refused(), Error::Closed]);
        assert_eq!(rule_of_error(&all, Anywhere).verdict, Retry);
        let both = Error::BothWays { first: Box::new(Error::Closed), second: Box::new(refused()) };
        assert_eq!(rule_of_error(&both, Anywhere).verdict, Retry);
        assert_eq!(rule_of_error(&Error::NoServer(vec![refused()]), Anywhere).verdict, Stop);
    }
}
