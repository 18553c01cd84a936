//! What an operator wishes of a migration, kept where its progress is: from any machine that may
//! write to the ledger, and over restarts of the run. Nothing is decided here.
//!
//! A line is one wish, with who made it. Pages, positions and wishes never write the same line, so
//! that none waits for another.

use super::{
    handle::Ledger,
    store::{exists, one_row},
};
use crate::{
    conn::{Error, Row},
    sql::quote_literal,
};

/// What can be wished for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WishName {
    /// That the run that is under way ends, as by SIGINT.
    Stop,
    /// That it lets another process of the same migration take over.
    Yield,
    /// That it rests until this is taken back.
    Pause,
    /// Whether a cutover is held back or made as soon as it can be: [`Cutover`].
    Cutover,
    /// `--rate`.
    Rate,
    /// `--max-lag`.
    MaxLag,
    /// `--max-load`.
    MaxLoad,
    /// `--throttle-query`.
    ThrottleQuery,
    /// `--throttle-file`.
    ThrottleFile,
    /// `--hours`.
    Hours,
    /// `--manners`.
    Manners,
}

impl WishName {
    const ALL: [(Self, &str); 11] = [
        (Self::Stop, "stop"),
        (Self::Yield, "yield"),
        (Self::Pause, "pause"),
        (Self::Cutover, "cutover"),
        (Self::Rate, "rate"),
        (Self::MaxLag, "max-lag"),
        (Self::MaxLoad, "max-load"),
        (Self::ThrottleQuery, "throttle-query"),
        (Self::ThrottleFile, "throttle-file"),
        (Self::Hours, "hours"),
        (Self::Manners, "manners"),
    ];

    /// As the ledger spells it: an option is called as on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(wish, _)| *wish == self).map_or("", |(_, name)| name)
    }
}

/// When a cutover is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cutover {
    /// Not before this is taken back.
    Hold,
    /// As soon as all is ready.
    WhenReady,
}

/// One wish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// For what, as the ledger spells it. Another version's may be for something unknown here.
    pub name: String,
    /// What exactly, where there is a choice.
    pub value: Option<String>,
    /// The role that made it.
    pub role: String,
    /// The address that it came from, as the target saw it; `None` by a Unix socket.
    pub host: Option<String>,
    /// When, as the target writes times in ISO 8601, to the second.
    pub at: String,
}

/// All that is wished of a migration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wishes(pub Vec<Wish>);

impl Wishes {
    /// The wish of that name, if there is one.
    #[must_use]
    pub fn get(&self, name: WishName) -> Option<&Wish> {
        self.0.iter().find(|wish| wish.name == name.as_str())
    }

    /// Whether the run is to end.
    #[must_use]
    pub fn stop(&self) -> bool {
        self.get(WishName::Stop).is_some()
    }

    /// Whether it is to let another process take over.
    #[must_use]
    pub fn yields(&self) -> bool {
        self.get(WishName::Yield).is_some()
    }

    /// Whether it is to rest.
    #[must_use]
    pub fn paused(&self) -> bool {
        self.get(WishName::Pause).is_some()
    }

    /// When a cutover is made, if anybody has said so.
    #[must_use]
    pub fn cutover(&self) -> Option<Cutover> {
        match self.get(WishName::Cutover)?.value.as_deref()? {
            "hold" => Some(Cutover::Hold),
            "when-ready" => Some(Cutover::WhenReady),
            _ => None,
        }
    }

    /// An option's value, if one was set.
    #[must_use]
    pub fn value(&self, name: WishName) -> Option<&str> {
        self.get(name)?.value.as_deref()
    }
}

impl Ledger<'_> {
    /// All that is wished; nothing where the ledger is older than wishes are.
    pub async fn wishes(&mut self) -> Result<Wishes, Error> {
        let ledger = &self.migration.ledger;
        if !exists(self.session, ledger, "wish").await? {
            return Ok(Wishes::default());
        }
        let sql = format!(
            "SELECT wish, value, role, host,
                    pg_catalog.to_char(wished_at AT TIME ZONE 'UTC',
                        'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') AS at
               FROM {ledger}.wish WHERE migration = {} ORDER BY wish",
            quote_literal(self.migration.as_str())
        );
        let result = self.session.query(&sql).await?;
        result.rows().iter().map(read_wish).collect::<Result<_, _>>().map(Wishes)
    }

    /// Wishes for something, in place of what was wished of it before.
    ///
    /// Errors: among others, the migration's line is gone.
    pub async fn wish(&mut self, name: WishName, value: Option<&str>) -> Result<(), Error> {
        let ledger = &self.migration.ledger;
        let sql = format!(
            "INSERT INTO {ledger}.wish (migration, wish, value, role, host, wished_at)
             SELECT name, {}, {}, current_user, pg_catalog.host(pg_catalog.inet_client_addr()),
                    pg_catalog.now()
               FROM {ledger}.migration WHERE name = {}
             ON CONFLICT (migration, wish) DO UPDATE SET value = excluded.value,
                 role = excluded.role, host = excluded.host, wished_at = excluded.wished_at",
            quote_literal(name.as_str()),
            value.map_or_else(|| "NULL".to_owned(), quote_literal),
            quote_literal(self.migration.as_str())
        );
        one_row(self.session, &sql).await
    }

    /// Takes wishes back, if they were made.
    pub async fn take_back(&mut self, names: &[WishName]) -> Result<(), Error> {
        let names: Vec<_> = names.iter().map(|name| quote_literal(name.as_str())).collect();
        let sql = format!(
            "DELETE FROM {}.wish WHERE migration = {} AND wish IN ({})",
            self.migration.ledger,
            quote_literal(self.migration.as_str()),
            names.join(", ")
        );
        self.session.query(&sql).await.map(drop)
    }
}

fn read_wish(row: &Row) -> Result<Wish, Error> {
    Ok(Wish {
        name: row.get("wish")?,
        value: row.get("value")?,
        role: row.get("role")?,
        host: row.get("host")?,
        at: row.get("at")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_are_told_by_their_names() {
        let wish = |name: &str, value: Option<&str>| Wish {
            name: name.into(),
            value: value.map(str::to_owned),
            role: "app".into(),
            host: None,
            at: "2026-12-01T04:00:00Z".into(),
        };
        let none = Wishes::default();
        assert!(!none.stop() && !none.paused() && !none.yields() && none.cutover().is_none());
        let some = Wishes(vec![
            wish("cutover", Some("hold")),
            wish("pause", None),
            wish("rate", Some("20MB/s")),
            wish("of another version", Some("x")),
        ]);
        assert!(some.paused() && !some.stop() && !some.yields());
        assert_eq!(some.cutover(), Some(Cutover::Hold));
        assert_eq!(some.value(WishName::Rate), Some("20MB/s"));
        assert_eq!(some.value(WishName::MaxLoad), None);
    }
}
