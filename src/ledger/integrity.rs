//! Whether what the catalog knows of the ledger says that it is pghost's own. Pure; what is asked
//! is [`super::inspect`]'s, and it is held against [`super::layout`].

use std::fmt;

use super::{
    layout::{self, Column, LEDGER_VERSION, OLDEST_VERSION, TABLES, Table},
    name::LedgerSchema,
};
/// What a ledger is looked at for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading it alone. An ordinary role may be let to by whoever it belongs to: plain tables run
    /// no code. One whose rights are all rights of the server reads nobody's but its own and
    /// superusers'.
    Read,
    /// Writing to it, or executing what it keeps: it belongs to the session's role, to one that
    /// that is a member of, or to a superuser, and nobody else may write to it.
    Write,
}

/// Why a ledger is not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// It is somebody else's, or somebody has put something of their own there.
    Strange(String),
    /// Something of it is gone, or it is another version's.
    Damaged(String),
    /// A newer pghost has made it.
    Newer(String),
    /// Who has logged in may do anything on the server, but acts as another, who may not: whatever
    /// is made would belong to the latter, and whatever that puts into it run with all rights.
    Acting {
        /// The role that has logged in.
        role: String,
        /// The role that it is set to.
        acts_as: String,
    },
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Strange(what) | Self::Damaged(what) | Self::Newer(what) => f.write_str(what),
            Self::Acting { role, acts_as } => write!(
                f,
                "what {role} makes would belong to {acts_as}, which the session's role is set to, \
                 and code of {acts_as} would run with the rights of {role}, which are all rights \
                 of that server"
            ),
        }
    }
}

/// What is there of a ledger that is fit to be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Present {
    /// Whether its schema is.
    pub(super) schema: bool,
    /// The layout that they have; this version's where there are none.
    pub(super) layout: i32,
    /// The tables that are.
    tables: Vec<String>,
}

impl Present {
    pub(super) fn has(&self, table: &Table) -> bool {
        self.tables.iter().any(|name| name == table.name)
    }
}

/// One thing that the catalog knows.
#[derive(Debug)]
pub(super) struct Fact {
    pub(super) kind: String,
    pub(super) relation: String,
    pub(super) name: String,
    pub(super) detail: String,
}

/// What there is could run somebody's code, or is anybody's to write to. Judged before anything is
/// read.
pub(super) fn no_danger(
    facts: &[Fact],
    ledger: &LedgerSchema,
    access: Access,
) -> Result<(), Unfit> {
    let of = |kind: &'static str| facts.iter().filter(move |fact| fact.kind == kind);
    if let (Some(fact), Access::Write) = (of("acts as").next(), access) {
        let (role, acts_as) = (us(&fact.detail).to_owned(), fact.name.clone());
        return Err(Unfit::Acting { role, acts_as });
    }
    // Whose it is explains whatever else there is.
    let mut dangers = of("schema").chain(of("owner")).chain(facts);
    let danger = dangers.find_map(|fact| danger(fact, ledger, access));
    danger.map_or(Ok(()), |what| Err(Unfit::Strange(what)))
}

/// Whether there is a version to be read.
pub(super) fn has_version(facts: &[Fact]) -> bool {
    let mut columns = facts.iter().filter(|fact| fact.kind == "column");
    columns.any(|fact| {
        fact.relation == "migration"
            && fact.name == "ledger_version"
            && fact.detail == "integer NOT NULL"
    })
}

/// The layout that a ledger is held against: that of its lines; without any, the newest of which
/// something is there.
fn layout_of(facts: &[Fact], version: Option<i32>) -> Result<i32, Unfit> {
    match version {
        Some(newer) if newer > LEDGER_VERSION => Err(Unfit::Newer(format!(
            "it has layout {newer}, and this pghost knows layouts up to {LEDGER_VERSION}"
        ))),
        Some(older) if older < OLDEST_VERSION => Err(Unfit::Damaged(format!(
            "it has layout {older}, and this pghost knows layouts from {OLDEST_VERSION} on"
        ))),
        Some(version) => Ok(version),
        None => {
            let has = |fact: &&Fact, layout: i32| match fact.kind.as_str() {
                "relation" => layout::table(&fact.name).is_some_and(|t| !t.is_of(layout)),
                "column" => layout::table(&fact.relation).is_some_and(|table| {
                    !table.columns(layout).any(|column| column.name == fact.name)
                }),
                _ => false,
            };
            let is_there = |layout: &i32| facts.iter().any(|fact| has(&fact, layout - 1));
            let is_new = !facts.iter().any(|fact| fact.kind == "relation");
            let mut newest_first = (OLDEST_VERSION + 1..=LEDGER_VERSION).rev();
            let found = newest_first.find(|layout| is_new || is_there(layout));
            Ok(found.unwrap_or(OLDEST_VERSION))
        }
    }
}

/// Judges what was found, which is no danger: what is missing first, then whatever else is not as
/// pghost makes it. `version` is the layout that its lines tell, if it has any.
pub(super) fn judge(
    facts: &[Fact],
    ledger: &LedgerSchema,
    version: Option<i32>,
) -> Result<Present, Unfit> {
    let of = |kind: &'static str| facts.iter().filter(move |fact| fact.kind == kind);
    let layout = layout_of(facts, version)?;
    let tables: Vec<String> = of("relation").map(|fact| fact.name.clone()).collect();
    let present = Present { schema: of("schema").next().is_some(), layout, tables };
    let columns: Vec<&Fact> = of("column").collect();
    let here = ledger.as_str();
    if let Some(table) = TABLES.iter().find(|t| present.has(t) && is_foreign(t, &columns)) {
        return Err(Unfit::Strange(format!(
            "there is a table {here}.{} that is not pghost's: it has other columns",
            table.name
        )));
    }
    let mut gone = Vec::new();
    for table in TABLES.iter().filter(|table| table.is_first && table.is_of(layout)) {
        // The objects came later than the other tables.
        let is_needed = table.name != "object" || present.has(table);
        let is_gone = |column: &&'static Column| found(table, column, &columns).is_none();
        let names = table.columns(layout).filter(|_| is_needed).filter(is_gone);
        gone.extend(names.map(|column| format!("{}.{}", table.name, column.name)));
    }
    if !present.tables.is_empty() && !gone.is_empty() {
        return Err(Unfit::Damaged(format!("it has no {}", gone.join(", "))));
    }
    if let Some(Fact { relation, name, .. }) = of("referred to").next() {
        return Err(Unfit::Strange(format!("{name} refers to {here}.{relation}")));
    }
    for table in TABLES.iter().filter(|table| present.has(table)) {
        let constraints: Vec<&Fact> =
            of("constraint").filter(|fact| fact.relation == table.name).collect();
        not_as_made(table, layout, &columns, &constraints).map_or(Ok(()), |what| {
            Err(Unfit::Strange(format!("{here}.{} is not as pghost makes it: {what}", table.name)))
        })?;
    }
    Ok(present)
}

/// What is wrong with a fact that there must not be.
fn danger(fact: &Fact, ledger: &LedgerSchema, access: Access) -> Option<String> {
    let Fact { kind, relation, name, detail } = fact;
    let here = ledger.as_str();
    let its = |what: &str| Some(format!("{here}.{relation} has {what} that pghost did not make"));
    match (kind.as_str(), access) {
        ("schema", Access::Write) if detail != "ours" => {
            Some(format!("the schema {here} belongs to {name}, not to {}", us(detail)))
        }
        ("schema", Access::Read) if detail.starts_with("powerful ") => {
            Some(format!("the schema {here} belongs to {name}, not to {}", us(detail)))
        }
        ("owner", Access::Write) => {
            Some(format!("{here}.{relation} belongs to {name}, not to {}", us(detail)))
        }
        ("owner", Access::Read) if detail.starts_with("powerful ") => {
            Some(format!("{here}.{relation} belongs to {name}, not to {}", us(detail)))
        }
        ("may create", Access::Write) => {
            Some(format!("{name} may create objects in the schema {here}"))
        }
        ("may write", Access::Write) => {
            Some(format!("{name} may write to {here}.{relation} ({detail})"))
        }
        ("kind", _) => Some(format!("{here}.{relation} is no plain table, but {detail}")),
        ("trigger", _) => its(&format!("a trigger {name}")),
        ("rule", _) => its(&format!("a rule {name}")),
        ("policy", _) => its(&format!("a policy {name}")),
        ("row security", _) => its("row security"),
        ("inheritance", _) => its(&format!("inheritance ({name})")),
        ("index", _) => its(&format!("an index {name}")),
        ("statistics", _) => its(&format!("statistics {name}")),
        ("check", _) => its(&format!("a constraint {name}")),
        _ => None,
    }
}

/// The session's role, as the query tells it behind what it is.
fn us(detail: &str) -> &str {
    detail.split_once(' ').map_or(detail, |(_, role)| role)
}

/// Whether a table only has the name: most columns are not there.
fn is_foreign(table: &Table, columns: &[&Fact]) -> bool {
    let made = table.columns(OLDEST_VERSION.max(table.since()));
    let there = made.clone().filter(|c| found(table, c, columns).is_some()).count();
    there * 2 < made.count()
}

fn found<'f>(table: &Table, column: &Column, columns: &[&'f Fact]) -> Option<&'f Fact> {
    columns.iter().copied().find(|f| f.relation == table.name && f.name == column.name)
}

/// What of a table's columns and constraints is other than it was made.
fn not_as_made(
    table: &Table,
    layout: i32,
    columns: &[&Fact],
    constraints: &[&Fact],
) -> Option<String> {
    let here: Vec<&&Fact> = columns.iter().filter(|fact| fact.relation == table.name).collect();
    for (at, column) in table.columns(layout).enumerate() {
        let Some(fact) = here.get(at) else {
            return Some(format!("it has no column {}", column.name));
        };
        if fact.name != column.name {
            return Some(format!("the column {} stands where {} does", fact.name, column.name));
        }
        if fact.detail != column.definition {
            let (is, made) = (&fact.detail, column.definition);
            return Some(format!("the column {} is {is}, and was made as {made}", column.name));
        }
    }
    if let Some(fact) = here.get(table.columns(layout).count()) {
        return Some(format!("it has another column, {}", fact.name));
    }
    let made = table.constraints();
    if let Some(other) = constraints.iter().find(|fact| !made.contains(&fact.detail)) {
        return Some(format!("it has another constraint, {}", other.name));
    }
    let is_gone = |one: &&String| !constraints.iter().any(|fact| fact.detail == **one);
    made.iter().find(is_gone).map(|one| match one.starts_with('p') {
        true => "it has no primary key".to_owned(),
        false => "it has no foreign key".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fact(kind: &str, relation: &str, name: &str, detail: &str) -> Fact {
        let [kind, relation, name, detail] = [kind, relation, name, detail].map(str::to_owned);
        Fact { kind, relation, name, detail }
    }

    /// A ledger just as it is made, with nothing that is not needed.
    fn as_made() -> Vec<Fact> {
        as_made_in(LEDGER_VERSION)
    }

    fn as_made_in(layout: i32) -> Vec<Fact> {
        let mut facts = vec![fact("schema", "", "app", "ours")];
        for table in TABLES.iter().filter(|table| table.is_first && table.is_of(layout)) {
            facts.push(fact("relation", "", table.name, ""));
            let columns = table.columns(layout);
            facts.extend(columns.map(|c| fact("column", table.name, c.name, c.definition)));
            let constraints = table.constraints();
            facts.extend(constraints.iter().map(|c| fact("constraint", table.name, "c", c)));
        }
        facts
    }

    fn judged(facts: &[Fact], access: Access) -> Result<(), Unfit> {
        no_danger(facts, &LedgerSchema::default(), access)?;
        judge(facts, &LedgerSchema::default(), None).map(drop)
    }

    #[test]
    fn a_ledger_is_held_against_the_layout_that_it_has() {
        let ledger = LedgerSchema::default();
        let layout = |facts: &[Fact], version| judge(facts, &ledger, version).map(|p| p.layout);
        for made in OLDEST_VERSION..=LEDGER_VERSION {
            let facts = as_made_in(made);
            assert_eq!(layout(&facts, None), Ok(made));
            assert_eq!(layout(&facts, Some(made)), Ok(made));
            let newer =
                Unfit::Newer("it has layout 4, and this pghost knows layouts up to 3".into());
            assert_eq!(layout(&facts, Some(4)), Err(newer));
            assert!(matches!(layout(&facts, Some(1)), Err(Unfit::Damaged(_))));
        }
        // Its lines say one thing, and its tables another.
        assert!(matches!(layout(&as_made_in(2), Some(3)), Err(Unfit::Damaged(_))));
        assert!(matches!(layout(&as_made_in(3), Some(2)), Err(Unfit::Strange(_))));
        assert_eq!(layout(&[], None), Ok(LEDGER_VERSION));
    }

    #[test]
    fn a_ledger_as_it_is_made_is_fit_and_so_is_none() {
        assert_eq!(judged(&as_made(), Access::Write), Ok(()));
        assert_eq!(judged(&[], Access::Write), Ok(()));
        assert_eq!(judged(&as_made().split_off(1), Access::Read), Ok(()));
    }

    #[test]
    fn an_ordinary_reader_may_read_anothers_tables_and_a_powerful_one_may_not() {
        for (us, fit) in [("role me", true), ("powerful me", false)] {
            let mut facts = as_made();
            facts[0] = fact("schema", "", "mallory", us);
            assert_eq!(judged(&facts, Access::Read).is_ok(), fit, "{us}");
            let strange = "the schema pghost belongs to mallory, not to me".to_owned();
            assert_eq!(judged(&facts, Access::Write), Err(Unfit::Strange(strange)));
        }
    }

    #[test]
    fn nothing_is_written_by_who_acts_as_another_with_less_rights() {
        let mut facts = as_made();
        facts.push(fact("acts as", "", "app", "powerful admin"));
        assert_eq!(judged(&facts, Access::Read), Ok(()));
        let acting = Unfit::Acting { role: "admin".into(), acts_as: "app".into() };
        assert_eq!(judged(&facts, Access::Write), Err(acting.clone()));
        assert_eq!(judged(&facts[facts.len() - 1..], Access::Write), Err(acting));
    }

    #[test]
    fn what_is_gone_is_told_apart_from_what_is_anothers() {
        let without = |table: &str, column: &str| {
            let mut facts = as_made();
            facts.retain(|f| f.kind != "column" || f.relation != table || f.name != column);
            judged(&facts, Access::Write)
        };
        let gone = Unfit::Damaged("it has no page.lsn".into());
        assert_eq!(without("page", "lsn"), Err(gone));
        let facts = [
            fact("schema", "", "app", "ours"),
            fact("relation", "", "page", ""),
            fact("column", "page", "id", "integer"),
        ];
        assert!(matches!(judged(&facts, Access::Write), Err(Unfit::Strange(_))));
    }

    #[test]
    fn a_column_that_is_not_as_it_was_made_is_told() {
        let mut facts = as_made();
        let at = facts.iter().position(|f| f.name == "statements").unwrap();
        facts[at].detail = "public.text[] NOT NULL".into();
        let Err(Unfit::Strange(what)) = judged(&facts, Access::Read) else { panic!() };
        assert!(what.contains("the column statements is public.text[] NOT NULL"), "{what}");
    }
}
