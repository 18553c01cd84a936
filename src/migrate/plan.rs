//! What will be done: the tables of both sides brought together.

use crate::{
    apply::{ApplyColumn, ApplyTable},
    backfill::{PageRows, TablePlan, rows_per_page},
    catalog::{
        Foundation, Key, Table, binary_is_safe, equal_means_same_bytes, explain_key, lock_target,
    },
    ledger::TableRecord,
    pg::{Ident, Lsn, QualifiedName},
    sql::Stage,
    wire::Format,
};

/// One table with what both servers say of it.
#[derive(Clone, Debug)]
pub(super) struct PlannedTable {
    pub(super) ordinal: usize,
    pub(super) source: Table,
    pub(super) key: Key,
    pub(super) target_name: QualifiedName,
    /// `None` until pghost has made it.
    pub(super) target: Option<Table>,
    /// What must be so on the source as long as it is read from.
    pub(super) foundation: Foundation,
    /// What must be so on the target as long as it is written to; taken down when that begins.
    pub(super) ground: Foundation,
    /// What the order of the source's key depends on.
    pub(super) key_order: String,
    /// The target's key; `None` while there is no target, and, where pghost has made it, until its
    /// rows are there.
    pub(super) target_key: Option<Key>,
    /// Columns that the source got since the migration began, and that do not travel.
    pub(super) new_columns: Vec<Ident>,
    /// Whether pages are cut by arithmetic.
    pub(super) is_arithmetic: bool,
}

impl PlannedTable {
    /// The columns that travel.
    pub(super) fn columns(&self) -> Vec<Ident> {
        self.source.stored_columns().map(|c| c.name.clone()).collect()
    }

    pub(super) fn key_names(&self) -> Vec<Ident> {
        self.key.columns.iter().map(|c| c.name.clone()).collect()
    }

    /// Which key was chosen and why, and how pages are cut by it.
    pub(super) fn explanation(&self) -> String {
        let how = if self.is_arithmetic { "by arithmetic on" } else { "by walking" };
        let key = explain_key(&self.source, &self.key);
        format!("{} is cut into pages {how} {key}", self.source.name.plain())
    }

    /// As the ledger keeps it.
    pub(super) fn record(&self) -> TableRecord {
        TableRecord {
            ordinal: self.ordinal,
            source: self.source.name.clone(),
            source_oid: self.source.oid,
            target: self.target_name.clone(),
            target_oid: self.target.as_ref().map(|target| target.oid),
            target_made: false,
            key: self.key_names(),
            key_order: self.key_order.clone(),
            columns: self.columns(),
            shape: self.source.shape.to_text(),
            backfilled: false,
            counts: crate::ledger::TableCounts::default(),
        }
    }

    /// Whether rows may travel in binary: every column's type is safe and the same on both
    /// sides, and the target has no column at all that binary COPY can't do (it asks for the
    /// receive function even of columns that are not named).
    pub(super) fn binary(&self) -> bool {
        let Some(target) = &self.target else {
            return false;
        };
        let between = [self.source.release, target.release];
        self.source.stored_columns().all(|column| {
            binary_is_safe(column.type_oid, between)
                && target.column(&column.name).is_some_and(|c| {
                    c.type_oid == column.type_oid && c.type_name == column.type_name
                })
        }) && target.columns.iter().all(|column| binary_is_safe(column.type_oid, between))
    }

    /// As `backfill` needs it.
    pub(super) fn for_backfill(&self, page_rows: Option<u64>) -> TablePlan {
        let estimated = rows_per_page(self.source.bytes, self.source.estimated_rows);
        TablePlan {
            ordinal: self.ordinal,
            source: self.source.name.clone(),
            foundation: self.foundation.clone(),
            ground: self.ground.clone(),
            lock: self.lock(),
            target: self.target_name.clone(),
            columns: self.columns(),
            key: self.key.columns.clone(),
            is_arithmetic: self.is_arithmetic,
            format: if self.binary() { Format::Binary } else { Format::Text },
            page_rows: page_rows
                .map_or(PageRows::Adapting(estimated), |rows| PageRows::Fixed(rows.max(1))),
        }
    }

    /// The lock under which the target's ground stays as it is.
    fn lock(&self) -> String {
        let partitions = self.target.as_ref().map_or(0, |target| target.partitions.len());
        lock_target(&self.target_name, partitions)
    }

    /// Whether equal keys have equal bytes on both sides.
    fn keys_are_bytes(&self, target: &Table) -> bool {
        self.key.columns.iter().all(|key| {
            [&self.source, target]
                .into_iter()
                .filter_map(|t| t.column(&key.name))
                .all(|column| equal_means_same_bytes(column.type_oid) && column.merges.is_none())
        })
    }

    /// As `apply` needs it; `None` until there is a target with its key. `pages_until`: where the
    /// last page was read. `ignores_new`: whether columns that it gets in mid-run are left out.
    pub(super) fn for_apply(
        &self,
        pages_until: Option<Lsn>,
        ignores_new: bool,
    ) -> Option<ApplyTable> {
        let target = self.target.as_ref()?;
        let columns = self
            .source
            .stored_columns()
            .map(|column| {
                let on_target = target.column(&column.name)?;
                let is_domain = on_target.base.oid != on_target.type_oid;
                Some(ApplyColumn {
                    name: column.name.clone(),
                    source_type: column.type_oid,
                    source_modifier: column.type_modifier,
                    target_type: on_target.type_oid,
                    below_domain: is_domain.then(|| on_target.base.name.clone()),
                })
            })
            .collect::<Option<Vec<_>>>()?;
        let computed: Vec<_> = (self.source.columns.iter().filter(|c| c.generated.is_some()))
            .map(|c| c.name.clone())
            .collect();
        Some(ApplyTable {
            ordinal: self.ordinal,
            source_oid: self.source.oid,
            source: self.source.name.clone(),
            target: self.target_name.clone(),
            foundation: self.foundation.clone(),
            ground: self.ground.clone(),
            lock: self.lock(),
            staged: Stage::has_room_for(columns.len()),
            columns,
            source_key: self.key.columns.clone(),
            target_key: self.target_key.as_ref()?.columns.clone(),
            keys_are_bytes: self.keys_are_bytes(target),
            pages_until: pages_until.unwrap_or(Lsn(u64::MAX)),
            replica_identity: self.source.replica_identity,
            left_out: computed.iter().chain(&self.new_columns).cloned().collect(),
            computed,
            // Its partitions have them, too.
            ignores_new: ignores_new && self.source.shape.partitions.is_empty(),
        })
    }
}

/// The ordinals of tables in the order in which they are made: one whose rows are a type of another
/// one's column comes before that one.
pub(super) fn order_of_making<'a>(tables: impl Iterator<Item = &'a PlannedTable>) -> Vec<usize> {
    let mut waiting: Vec<_> = tables.map(|table| (table.ordinal, &table.source)).collect();
    let mut order = Vec::new();
    while !waiting.is_empty() {
        let is_needed = |by: &Table, of: &Table| {
            by.oid != of.oid && by.columns.iter().any(|c| of.row_types.contains(&c.type_oid))
        };
        let is_free = |(_, table): &(usize, &Table)| {
            !waiting.iter().any(|(_, other)| is_needed(table, other))
        };
        // Two that need each other can't be made at all, as the server will say.
        let next = waiting.iter().position(is_free).unwrap_or_default();
        order.push(waiting.remove(next).0);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        catalog::{Column, Generated, UniqueIndex, choose_key},
        pg::{Oid, ServerVersion},
    };

    /// A table of an integer key and these columns, on a release.
    fn table(name: &str, major: u32, columns: &[(&str, u32, &str)]) -> Table {
        let key = Column { not_null: true, ..Column::sample("id", Oid(23), "integer") };
        let others = columns.iter().map(|&(name, oid, kind)| Column::sample(name, Oid(oid), kind));
        Table {
            release: ServerVersion::from_num(major * 10_000),
            columns: [key].into_iter().chain(others).collect(),
            unique_indexes: vec![UniqueIndex {
                primary: true,
                ..UniqueIndex::sample("pk", &["id"])
            }],
            ..Table::sample(name)
        }
    }

    fn planned(source: Table, target: Option<Table>) -> PlannedTable {
        let key = choose_key(&source).unwrap();
        let target_name = QualifiedName::new("public", "target");
        PlannedTable {
            ordinal: 0,
            target_key: target.is_some().then(|| key.clone()),
            source,
            key,
            target_name,
            foundation: Foundation::default(),
            ground: Foundation::default(),
            key_order: String::new(),
            target,
            new_columns: Vec::new(),
            is_arithmetic: true,
        }
    }

    fn between(source: Table, target: Table) -> bool {
        let planned = planned(source, Some(target));
        let format = planned.for_backfill(None).format;
        assert_eq!(planned.binary(), format == Format::Binary);
        planned.binary()
    }

    /// The same on both sides.
    fn both(columns: &[(&str, u32, &str)]) -> bool {
        between(table("source", 14, columns), table("target", 18, columns))
    }

    #[test]
    fn rows_travel_in_binary_where_every_type_is_safe() {
        assert!(both(&[("t", 25, "text"), ("n", 1700, "numeric(10,2)"), ("a", 1007, "integer[]")]));
        // One that isn't makes text of all.
        for (oid, name) in [(26, "oid"), (790, "money"), (142, "xml"), (16_400, "public.word")] {
            assert!(!both(&[("t", 25, "text"), ("x", oid, name)]), "{name}");
        }
        assert!(!planned(table("source", 18, &[]), None).binary(), "there is no target yet");
    }

    #[test]
    fn tables_whose_rows_are_types_of_others_are_made_first() {
        let table = |ordinal: usize, oid: u32, kind: u32| {
            let source = Table {
                oid: Oid(oid),
                row_types: [Oid(oid * 100), Oid(oid * 100 + 1)],
                ..table("t", 18, &[("x", kind, "x")])
            };
            PlannedTable { ordinal, ..planned(source, None) }
        };
        let order = |tables: &[PlannedTable]| order_of_making(tables.iter());
        let (a, b, c) = (table(0, 1, 301), table(1, 2, 23), table(2, 3, 200));
        assert_eq!(order(&[a, b, c]), [1, 2, 0]);
        assert_eq!(order(&[table(0, 1, 200), table(1, 2, 100), table(2, 3, 300)]), [2, 0, 1]);
    }

    #[test]
    fn a_type_is_the_same_with_its_modifier_only() {
        let short = table("source", 18, &[("v", 1043, "character varying(10)")]);
        let long = table("target", 18, &[("v", 1043, "character varying(20)")]);
        assert!(!between(short.clone(), long));
        assert!(between(short.clone(), short.clone()));
        assert!(!between(short, table("target", 18, &[("v", 25, "text")])));
    }

    #[test]
    fn a_column_that_only_the_target_has_counts_and_what_the_source_computes_does_not() {
        let (source, safe) = (table("source", 18, &[]), table("target", 18, &[("x", 25, "text")]));
        assert!(between(source.clone(), safe));
        // Binary COPY asks for the receive function of every column there is.
        let extra = table("target", 18, &[("acl", 1033, "aclitem")]);
        assert!(!between(source.clone(), extra.clone()));
        let generated = |mut table: Table| {
            table.columns[1].generated = Some(Generated::Stored);
            table
        };
        assert!(!between(source.clone(), generated(extra.clone())));
        assert!(between(generated(Table { name: source.name.clone(), ..extra }), source));
    }

    #[test]
    fn intervals_travel_in_binary_between_releases_that_read_them_alike() {
        let of = |major| table("t", major, &[("i", 1186, "interval"), ("a", 1187, "interval[]")]);
        assert!(between(of(14), of(16)) && between(of(18), of(17)));
        assert!(!between(of(18), of(14)) && !between(of(16), of(17)));
    }
}
