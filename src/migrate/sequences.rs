//! The sequences that feed columns: serial, identity, owned by hand, or just named in a default.
//! The target's are brought to where the source's are, or ahead of that by a gap; never back.

use serde::Serialize;

use crate::{
    conn::{Connection, Error, Row},
    pg::{QualifiedName, SqlState},
    sql::quote_literal,
};

/// A sequence that feeds a column.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Feed {
    column: String,
    sequence: QualifiedName,
}

/// Where a sequence is, and by which rules it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    last_value: i64,
    is_called: bool,
    increment: i64,
    min: i64,
    max: i64,
}

/// What became of one of the target's sequences.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SequenceReport {
    /// The target table.
    pub table: String,
    /// Its column.
    pub column: String,
    /// The source's sequence.
    pub source: String,
    /// The target's; `null` if there is none.
    pub target: Option<String>,
    /// The last value that the source's has given, `null` if none.
    pub source_value: Option<i64>,
    /// The last value that the target's is taken to have given: the next one comes after it.
    pub target_value: Option<i64>,
    /// Whether it was moved just now.
    pub moved: bool,
    /// Why it could not be set as it was asked, if so.
    pub problem: Option<String>,
}

/// Brings the sequences of one table up, each at least `gap` values ahead of the source's. Can be
/// done again.
pub(super) async fn bring_up(
    source: &mut Connection,
    target: &mut Connection,
    (from, to): (&QualifiedName, &QualifiedName),
    gap: u64,
) -> Result<Vec<SequenceReport>, Error> {
    let there = feeds(source, from).await?;
    if there.is_empty() {
        return Ok(Vec::new());
    }
    let here = feeds(target, to).await?;
    let mut reports = Vec::new();
    for feed in &there {
        let counterpart = counterpart(feed, &there, &here);
        let mut report = SequenceReport {
            table: to.plain(),
            column: feed.column.clone(),
            source: feed.sequence.plain(),
            target: counterpart.map(|feed| feed.sequence.plain()),
            source_value: None,
            target_value: None,
            moved: false,
            problem: None,
        };
        match counterpart {
            None => {
                let what = "no sequence of the target feeds the column in the same way";
                report.problem = Some(what.into());
            }
            Some(other) => {
                let pair = (&feed.sequence, &other.sequence);
                let done = bring_one_up(source, target, pair, gap, &mut report).await;
                match done {
                    Err(error) if error.sqlstate() == Some(SqlState::INSUFFICIENT_PRIVILEGE) => {
                        report.problem = Some(format!(
                            "{error}; on the source: GRANT SELECT ON SEQUENCE {}, on the target: \
                             GRANT SELECT, UPDATE ON SEQUENCE {}",
                            feed.sequence, other.sequence
                        ));
                    }
                    done => done?,
                }
            }
        }
        reports.push(report);
    }
    Ok(reports)
}

async fn bring_one_up(
    source: &mut Connection,
    target: &mut Connection,
    (from, to): (&QualifiedName, &QualifiedName),
    gap: u64,
    report: &mut SequenceReport,
) -> Result<(), Error> {
    let (there, here) = (state(source, from).await?, state(target, to).await?);
    report.source_value = there.given();
    report.target_value = here.given();
    let Wanted { value, problem } = wanted(there, here, gap);
    report.problem = problem;
    if let Some(value) = value {
        let sql = format!("SELECT setval({}, {value})", quote_literal(&to.to_string()));
        target.query(&sql).await?;
        report.target_value = Some(value);
        report.moved = true;
    }
    Ok(())
}

/// What a target's sequence is to be set to.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    /// `None` if it may stay.
    value: Option<i64>,
    problem: Option<String>,
}

fn wanted(there: State, here: State, gap: u64) -> Wanted {
    let says = |what: &str| Wanted { value: None, problem: Some(what.to_owned()) };
    if (there.increment > 0) != (here.increment > 0) {
        return says("one of them counts up and the other one down");
    }
    let step = i128::from(there.increment);
    let last = there.last();
    let ahead = last + i128::from(gap) * step;
    let fits = |value: i128| (i128::from(here.min)..=i128::from(here.max)).contains(&value);
    let is_behind =
        |value: i128| if here.increment > 0 { here.last() < value } else { here.last() > value };
    // The last value of all would leave nothing to give.
    let (value, problem) = match (fits(ahead + i128::from(here.increment)), gap) {
        (true, _) | (_, 0) => (ahead, None),
        _ => (last, Some("there is no room for the gap, so it has none".to_owned())),
    };
    let value = i64::try_from(value).ok().filter(|_| is_behind(value) && fits(value));
    if value.is_none() && is_behind(last) && !fits(last) && there.is_called {
        return says("the source's value is beyond what the target's may give");
    }
    Wanted { value, problem: problem.filter(|_| value.is_some()) }
}

impl State {
    /// The last value that was given, also where none was: then the one before the first.
    fn last(self) -> i128 {
        let last = i128::from(self.last_value);
        if self.is_called { last } else { last - i128::from(self.increment) }
    }

    fn given(self) -> Option<i64> {
        self.is_called.then_some(self.last_value)
    }
}

/// The target's sequence for a column that one of the source's feeds: that of the same name, or the
/// only one where there is only one on both sides.
fn counterpart<'a>(feed: &Feed, there: &[Feed], here: &'a [Feed]) -> Option<&'a Feed> {
    let of_column = |feeds: &'a [Feed]| feeds.iter().filter(|other| other.column == feed.column);
    let same = of_column(here).find(|other| other.sequence == feed.sequence);
    let alone = there.iter().filter(|other| other.column == feed.column).count() == 1;
    same.or_else(|| {
        let mut others = of_column(here);
        others.next().filter(|_| alone && others.next().is_none())
    })
}

async fn feeds(connection: &mut Connection, table: &QualifiedName) -> Result<Vec<Feed>, Error> {
    // A serial column owns its sequence and names it in its default.
    let sql = format!(
        "SELECT DISTINCT a.attnum, a.attname, n.nspname, c.relname
           FROM (SELECT refobjid AS relation, refobjsubid AS attnum, objid AS sequence
                   FROM pg_depend
                  WHERE classid = 'pg_class'::regclass AND refclassid = 'pg_class'::regclass
                    AND deptype IN ('a', 'i') AND refobjsubid > 0
                  UNION ALL
                 SELECT d.adrelid, d.adnum, p.refobjid
                   FROM pg_attrdef d JOIN pg_depend p ON p.objid = d.oid
                    AND p.classid = 'pg_attrdef'::regclass
                    AND p.refclassid = 'pg_class'::regclass) s
           JOIN pg_class c ON c.oid = s.sequence AND c.relkind = 'S'
           JOIN pg_namespace n ON n.oid = c.relnamespace
           JOIN pg_attribute a ON a.attrelid = s.relation AND a.attnum = s.attnum
          WHERE s.relation = {}::regclass
          ORDER BY a.attnum, n.nspname, c.relname",
        quote_literal(&table.to_string())
    );
    connection.query(&sql).await?.rows().iter().map(feed).collect()
}

fn feed(row: &Row) -> Result<Feed, Error> {
    let sequence = QualifiedName::new(row.get::<String>("nspname")?, row.get::<String>("relname")?);
    Ok(Feed { column: row.get("attname")?, sequence })
}

async fn state(connection: &mut Connection, name: &QualifiedName) -> Result<State, Error> {
    let sql = format!(
        "SELECT last_value, is_called, seqincrement, seqmin, seqmax
           FROM {name}, pg_sequence WHERE seqrelid = {}::regclass",
        quote_literal(&name.to_string())
    );
    let result = connection.query(&sql).await?;
    let row = result.row()?;
    Ok(State {
        last_value: row.get("last_value")?,
        is_called: row.get("is_called")?,
        increment: row.get("seqincrement")?,
        min: row.get("seqmin")?,
        max: row.get("seqmax")?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const UP: State = State { last_value: 1, is_called: false, increment: 1, min: 1, max: 100 };
    const DOWN: State =
        State { last_value: -1, is_called: false, increment: -1, min: -100, max: -1 };

    fn at(state: State, last_value: i64) -> State {
        State { last_value, is_called: true, ..state }
    }

    #[test]
    fn a_sequence_is_brought_ahead_and_never_back() {
        for (there, here, gap, value) in [
            (UP, UP, 0, None),
            (UP, UP, 10, Some(10)),
            (at(UP, 5), UP, 0, Some(5)),
            (at(UP, 5), at(UP, 5), 0, None),
            (at(UP, 5), at(UP, 9), 3, None),
            (at(UP, 5), at(UP, 7), 3, Some(8)),
            (at(DOWN, -5), DOWN, 0, Some(-5)),
            (at(DOWN, -5), at(DOWN, -9), 3, None),
            (at(DOWN, -5), at(DOWN, -7), 3, Some(-8)),
            (at(State { increment: 10, ..UP }, 11), UP, 3, Some(41)),
        ] {
            let wanted = wanted(there, here, gap);
            assert_eq!(wanted, Wanted { value, problem: None }, "{there:?} {here:?} {gap}");
        }
    }

    #[test]
    fn a_gap_without_room_is_left_out_and_told() {
        let near = wanted(at(UP, 95), UP, 10);
        assert_eq!(near.value, Some(95));
        assert!(near.problem.is_some());
        let last = wanted(at(UP, 100), UP, 0);
        assert_eq!(last, Wanted { value: Some(100), problem: None });
        let beyond = wanted(at(State { max: 1_000, ..UP }, 500), UP, 0);
        assert!(beyond.value.is_none() && beyond.problem.is_some(), "{beyond:?}");
        assert!(wanted(UP, DOWN, 0).problem.is_some());
    }

    #[test]
    fn each_column_has_its_own() {
        let feed = |column: &str, sequence: &str| Feed {
            column: column.into(),
            sequence: QualifiedName::new("public", sequence),
        };
        let there = [feed("a", "t_a_seq"), feed("b", "shared"), feed("b", "other")];
        let here = [feed("a", "u_a_seq"), feed("b", "shared"), feed("b", "third")];
        let of = |at: usize| counterpart(&there[at], &there, &here).map(|f| f.sequence.plain());
        assert_eq!(of(0).as_deref(), Some("public.u_a_seq"));
        assert_eq!(of(1).as_deref(), Some("public.shared"));
        assert_eq!(of(2), None);
    }

    proptest! {
        /// The next value is one that the source has not given, and what was done once need not be
        /// done again.
        #[test]
        fn the_next_value_is_new(
            last in 1i64..=90, called: bool, mine in 1i64..=100, mine_called: bool, gap in 0u64..20
        ) {
            let there = State { last_value: last, is_called: called, ..UP };
            let here = State { last_value: mine, is_called: mine_called, ..UP };
            let after = match wanted(there, here, gap).value {
                Some(value) => at(UP, value),
                None => here,
            };
            prop_assert!(after.last() >= there.last());
            prop_assert!(after.last() >= here.last());
            prop_assert_eq!(wanted(there, after, gap).value, None);
        }
    }
}
