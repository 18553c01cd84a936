//! Whose code would run: who owns tables, and all that their expressions call.
//!
//! Reading or writing a table runs what its owner has put into it: CHECKs, defaults, generated
//! columns, index expressions and predicates, expressions of statistics, triggers; and with these
//! the functions, operators and types that they are made of, each of which belongs to somebody. Who
//! owns a schema may put others in their places. The server knows what depends on what
//! (`pg_depend`), so one statement tells it for all tables. It runs nothing of theirs, and comes
//! first.
//!
//! Who is to be trusted is `migrate`'s to judge.

use serde::Serialize;

use crate::{
    conn::{Connection, Error, Row},
    pg::QualifiedName,
};

/// What somebody owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OwnedKind {
    /// A table, or what stands in its place, as a view.
    Table,
    /// A partition or another child of a table.
    Partition,
    /// A function, procedure or aggregate.
    Function,
    /// A type.
    Type,
    /// An operator.
    Operator,
    /// An operator class or family.
    OperatorClass,
    /// A sequence that a default takes values from, or what stands in its place.
    Sequence,
    /// A schema that one of these is in.
    Schema,
}

impl OwnedKind {
    const ALL: [(Self, &str); 8] = [
        (Self::Table, "table"),
        (Self::Partition, "partition"),
        (Self::Function, "function"),
        (Self::Type, "type"),
        (Self::Operator, "operator"),
        (Self::OperatorClass, "operator class"),
        (Self::Sequence, "sequence"),
        (Self::Schema, "schema"),
    ];

    /// For people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }

    fn parse(text: &str) -> Result<Self, Error> {
        let found = Self::ALL.iter().find(|(_, name)| *name == text).map(|(kind, _)| *kind);
        found.ok_or_else(|| Error::Result(format!("there is no kind of object {text:?}")))
    }
}

/// One thing that somebody owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owned {
    /// What it is.
    pub kind: OwnedKind,
    /// Its schema.
    pub schema: String,
    /// Its name in the schema.
    pub name: String,
    /// As SQL tells it from all others: `m.norm(text)`.
    pub identity: String,
    /// Of a table: which one of those that were asked for, by its place.
    pub ordinal: Option<usize>,
    /// Whether it belongs to a table that pghost is to make, or to what stands in its place.
    pub is_made: bool,
    /// Of a function of no extension: a hash of its text and all that decides what it does.
    pub text: Option<String>,
    /// Who owns it; of what belongs to `pg_database_owner`, who owns the database.
    pub owner: String,
    /// Whether that is a superuser.
    pub is_superusers: bool,
    /// Whether that is who asks.
    pub is_ours: bool,
    /// Whether who asks is a member of that role.
    pub is_of_member: bool,
}

/// Who owns what on one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owners {
    /// The role that asks.
    pub role: String,
    /// Whether code that runs with its rights can do anything on the server: a superuser, or one
    /// that may run programs or write or read files there.
    pub is_powerful: bool,
    /// What was found, without what comes with Postgres.
    pub all: Vec<Owned>,
}

/// A table whose owners are asked for.
#[derive(Clone, Debug, Serialize)]
pub struct Asked<'a> {
    schema: &'a str,
    name: &'a str,
    ordinal: usize,
    /// Whether another is made after its model.
    is_made: bool,
}

impl<'a> Asked<'a> {
    /// A table by name, and its place among all.
    #[must_use]
    pub fn new(table: &'a QualifiedName, ordinal: usize, is_made: bool) -> Self {
        Self { schema: table.schema.as_str(), name: table.name.as_str(), ordinal, is_made }
    }
}

/// Something that expressions from another server will look for by its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Named {
    kind: &'static str,
    schema: String,
    name: String,
}

impl Owners {
    /// What a table that is made on another server after the model of these will look for there,
    /// by name.
    #[must_use]
    pub fn called(&self) -> Vec<Named> {
        let by_name = |owned: &&Owned| {
            let kinds =
                [OwnedKind::Function, OwnedKind::Type, OwnedKind::Operator, OwnedKind::Sequence];
            owned.is_made && kinds.contains(&owned.kind)
        };
        let named = |owned: &Owned| Named {
            kind: owned.kind.as_str(),
            schema: owned.schema.clone(),
            name: owned.name.clone(),
        };
        self.all.iter().filter(by_name).map(named).collect()
    }
}

/// Which of these tables are there, by their places.
pub async fn load_existing(
    connection: &mut Connection,
    asked: &[Asked<'_>],
) -> Result<Vec<usize>, Error> {
    let sql = "SELECT a.ordinal
                 FROM json_to_recordset($1::json) AS a(schema text, name text, ordinal integer)
                 JOIN pg_namespace n ON n.nspname = a.schema
                 JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = a.name";
    let result = connection.query_with(sql, &[Some(&json(&asked)?)]).await?;
    result.rows().iter().map(|row| row.get("ordinal")).collect()
}

/// Who owns these tables, and all that their expressions call; and what has these names.
pub async fn load_owners(
    connection: &mut Connection,
    asked: &[Asked<'_>],
    named: &[Named],
) -> Result<Owners, Error> {
    let parameters = [json(&asked)?, json(&named)?];
    let parameters = parameters.each_ref().map(|json| Some(json.as_str()));
    let result = connection.query_with(&statement(), &parameters).await?;
    let first = result.rows().first();
    let first = first.ok_or_else(|| Error::Result("the server tells no role".into()))?;
    let found = |row: &&Row| !matches!(row.get::<Option<String>>("kind"), Ok(None));
    Ok(Owners {
        role: first.get("role")?,
        is_powerful: first.get("is_powerful")?,
        all: result.rows().iter().filter(found).map(read).collect::<Result<_, _>>()?,
    })
}

fn json(what: &impl Serialize) -> Result<String, Error> {
    serde_json::to_string(what).map_err(|error| Error::Result(error.to_string()))
}

fn read(row: &Row) -> Result<Owned, Error> {
    Ok(Owned {
        kind: OwnedKind::parse(&row.get::<String>("kind")?)?,
        schema: row.get("schema")?,
        name: row.get("name")?,
        identity: row.get("identity")?,
        ordinal: row.get("ordinal")?,
        is_made: row.get("is_made")?,
        text: row.get("text")?,
        owner: row.get("owner")?,
        is_superusers: row.get("is_superusers")?,
        is_ours: row.get("is_ours")?,
        is_of_member: row.get("is_of_member")?,
    })
}

/// With the catalogs' oids for their names behind `@`.
fn statement() -> String {
    let mut sql = SQL.replace("@me", ME);
    // Longer names first: one may begin with another.
    for catalog in [
        "pg_statistic_ext",
        "pg_constraint",
        "pg_extension",
        "pg_opfamily",
        "pg_operator",
        "pg_attrdef",
        "pg_opclass",
        "pg_rewrite",
        "pg_trigger",
        "pg_policy",
        "pg_class",
        "pg_proc",
        "pg_type",
    ] {
        let oid = format!("'pg_catalog.{catalog}'::pg_catalog.regclass::pg_catalog.oid");
        sql = sql.replace(&format!("@{catalog}"), &oid);
    }
    sql
}

/// Who asks: the roles that have logged in (`session`, by name `role`) and that it acts as
/// (`current`), and whether code that runs here can do anything on the server. A session's rights
/// are those of the role that has logged in: whatever it is set to, a function can RESET ROLE. A
/// superuser is a member of every role, which says nothing of these.
pub const ME: &str = "
    SELECT s.oid AS session, c.oid AS current, s.rolname AS role,
           s.rolsuper OR c.rolsuper OR EXISTS (
               SELECT FROM pg_catalog.pg_roles g
                WHERE g.rolname IN ('pg_execute_server_program', 'pg_write_server_files',
                                    'pg_read_server_files')
                  AND (pg_catalog.pg_has_role(s.oid, g.oid, 'MEMBER')
                       OR pg_catalog.pg_has_role(c.oid, g.oid, 'MEMBER'))
           ) AS is_powerful
      FROM pg_catalog.pg_roles s, pg_catalog.pg_roles c
     WHERE s.rolname = session_user AND c.rolname = current_user";

/// What belongs to Postgres itself has an oid below 16384 (`FirstNormalObjectId` in `transam.h`),
/// and nothing that depends on it is noted. What hangs on an object is not in `pg_depend` as
/// something that it needs: a domain's CHECKs, a type's casts and operator classes, a family's
/// functions.
const SQL: &str = "
WITH RECURSIVE me AS (@me
), asked AS (
    SELECT * FROM json_to_recordset($1::json)
               AS a(schema text, name text, ordinal integer, is_made boolean)
), named AS (
    SELECT * FROM json_to_recordset($2::json) AS a(kind text, schema text, name text)
), rel(oid, ordinal, is_made, kind) AS (
    SELECT c.oid, a.ordinal, a.is_made, 'table'
      FROM asked a JOIN pg_namespace n ON n.nspname = a.schema
      JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = a.name
    UNION
    SELECT i.inhrelid, r.ordinal, r.is_made, 'partition'
      FROM rel r JOIN pg_inherits i ON i.inhparent = r.oid
), start(classid, objid, is_made) AS (
    SELECT @pg_class, oid, is_made FROM rel
    UNION ALL SELECT @pg_class, i.indexrelid, r.is_made
                FROM rel r JOIN pg_index i ON i.indrelid = r.oid
    UNION ALL SELECT @pg_constraint, c.oid, r.is_made
                FROM rel r JOIN pg_constraint c ON c.conrelid = r.oid
    UNION ALL SELECT @pg_attrdef, d.oid, r.is_made FROM rel r JOIN pg_attrdef d ON d.adrelid = r.oid
    UNION ALL SELECT @pg_statistic_ext, s.oid, r.is_made
                FROM rel r JOIN pg_statistic_ext s ON s.stxrelid = r.oid
    UNION ALL SELECT @pg_policy, p.oid, r.is_made FROM rel r JOIN pg_policy p ON p.polrelid = r.oid
    UNION ALL SELECT @pg_trigger, t.oid, r.is_made FROM rel r JOIN pg_trigger t ON t.tgrelid = r.oid
               WHERE t.tgenabled IN ('A', 'R')
    UNION ALL SELECT @pg_rewrite, w.oid, r.is_made
                FROM rel r JOIN pg_rewrite w ON w.ev_class = r.oid
    UNION ALL SELECT @pg_proc, evtfoid, false FROM pg_event_trigger WHERE evtenabled <> 'D'
    UNION ALL SELECT @pg_proc, p.oid, true FROM named x JOIN pg_namespace n ON n.nspname = x.schema
                JOIN pg_proc p ON p.pronamespace = n.oid AND p.proname = x.name
               WHERE x.kind = 'function'
    UNION ALL SELECT @pg_type, t.oid, true FROM named x JOIN pg_namespace n ON n.nspname = x.schema
                JOIN pg_type t ON t.typnamespace = n.oid AND t.typname = x.name
               WHERE x.kind = 'type'
    UNION ALL SELECT @pg_operator, o.oid, true
                FROM named x JOIN pg_namespace n ON n.nspname = x.schema
                JOIN pg_operator o ON o.oprnamespace = n.oid AND o.oprname = x.name
               WHERE x.kind = 'operator'
    UNION ALL SELECT @pg_class, c.oid, true FROM named x JOIN pg_namespace n ON n.nspname = x.schema
                JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = x.name
               WHERE x.kind = 'sequence'
), reach(classid, objid, is_made) AS (
    SELECT classid, objid, is_made FROM start
    UNION
    SELECT e.classid, e.objid, r.is_made FROM reach r, LATERAL (
        SELECT d.refclassid AS classid, d.refobjid AS objid FROM pg_depend d
         WHERE d.classid = r.classid AND d.objid = r.objid
           AND (d.refclassid IN (@pg_proc, @pg_type, @pg_operator, @pg_opclass, @pg_opfamily)
                OR d.refclassid = @pg_class AND r.classid IN (@pg_type, @pg_attrdef))
        UNION ALL
        SELECT @pg_class, t.typrelid FROM pg_type t
         WHERE r.classid = @pg_type AND t.oid = r.objid AND t.typrelid <> 0
        UNION ALL
        SELECT @pg_constraint, c.oid FROM pg_constraint c
         WHERE r.classid = @pg_type AND c.contypid = r.objid
        UNION ALL
        SELECT @pg_proc, c.castfunc FROM pg_cast c
         WHERE r.classid = @pg_type AND r.objid IN (c.castsource, c.casttarget) AND c.castfunc <> 0
        UNION ALL
        SELECT @pg_opclass, o.oid FROM pg_opclass o
         WHERE r.classid = @pg_type AND o.opcintype = r.objid
        UNION ALL
        SELECT @pg_opfamily, o.opcfamily FROM pg_opclass o
         WHERE r.classid = @pg_opclass AND o.oid = r.objid
        UNION ALL
        SELECT @pg_proc, p.amproc::oid FROM pg_amproc p
         WHERE r.classid = @pg_opfamily AND p.amprocfamily = r.objid
        UNION ALL
        SELECT @pg_operator, o.amopopr FROM pg_amop o
         WHERE r.classid = @pg_opfamily AND o.amopfamily = r.objid
    ) e
), found AS (
    SELECT r.kind, c.relnamespace AS namespace, c.relname AS name,
           format('%I.%I', n.nspname, c.relname) AS identity, r.ordinal, r.is_made,
           NULL AS text, c.relowner AS owner
      FROM rel r JOIN pg_class c ON c.oid = r.oid JOIN pg_namespace n ON n.oid = c.relnamespace
    UNION ALL
    SELECT 'sequence', c.relnamespace, c.relname, format('%I.%I', n.nspname, c.relname), NULL,
           r.is_made, NULL, c.relowner
      FROM reach r JOIN pg_class c ON c.oid = r.objid JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE r.classid = @pg_class AND r.objid >= 16384 AND c.relkind IN ('S', 'v', 'm', 'f')
       AND NOT EXISTS (SELECT FROM rel WHERE rel.oid = r.objid)
    UNION ALL
    SELECT 'function', p.pronamespace, p.proname, p.oid::regprocedure::text, NULL, r.is_made,
           CASE WHEN NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = @pg_proc
                                    AND d.objid = p.oid AND d.refclassid = @pg_extension)
                THEN encode(sha256(convert_to(concat_ws(chr(10), l.lanname, p.provolatile,
                         p.proisstrict, p.prosecdef, p.proconfig, p.probin, p.prosrc,
                         pg_get_function_sqlbody(p.oid)), 'UTF8')), 'hex') END,
           p.proowner
      FROM reach r JOIN pg_proc p ON p.oid = r.objid JOIN pg_language l ON l.oid = p.prolang
     WHERE r.classid = @pg_proc AND r.objid >= 16384
    UNION ALL
    SELECT 'type', t.typnamespace, t.typname, t.oid::regtype::text, NULL, r.is_made, NULL,
           t.typowner
      FROM reach r JOIN pg_type t ON t.oid = r.objid
     WHERE r.classid = @pg_type AND r.objid >= 16384
       AND NOT EXISTS (SELECT FROM pg_type e WHERE e.typarray = t.oid)
    UNION ALL
    SELECT 'operator', o.oprnamespace, o.oprname, o.oid::regoperator::text, NULL, r.is_made, NULL,
           o.oprowner
      FROM reach r JOIN pg_operator o ON o.oid = r.objid
     WHERE r.classid = @pg_operator AND r.objid >= 16384
    UNION ALL
    SELECT 'operator class', o.opcnamespace, o.opcname, format('%I.%I', n.nspname, o.opcname), NULL,
           r.is_made, NULL, o.opcowner
      FROM reach r JOIN pg_opclass o ON o.oid = r.objid
      JOIN pg_namespace n ON n.oid = o.opcnamespace
     WHERE r.classid = @pg_opclass AND r.objid >= 16384
    UNION ALL
    SELECT 'operator class', o.opfnamespace, o.opfname, format('%I.%I', n.nspname, o.opfname), NULL,
           r.is_made, NULL, o.opfowner
      FROM reach r JOIN pg_opfamily o ON o.oid = r.objid
      JOIN pg_namespace n ON n.oid = o.opfnamespace
     WHERE r.classid = @pg_opfamily AND r.objid >= 16384
), thing AS (
    SELECT * FROM found
    UNION ALL
    SELECT 'schema', n.oid, n.nspname, quote_ident(n.nspname), NULL, bool_or(f.is_made), NULL,
           n.nspowner
      FROM found f JOIN pg_namespace n ON n.oid = f.namespace GROUP BY n.oid, n.nspname, n.nspowner
)
SELECT me.role, me.is_powerful, t.kind, t.identity, t.ordinal, t.is_made, t.text, t.name,
       n.nspname AS schema, coalesce(o.rolname, w.owner::text::name) AS owner,
       coalesce(o.rolsuper, false) AS is_superusers,
       w.owner = me.session OR NOT me.is_powerful AND w.owner = me.current AS is_ours,
       coalesce(pg_has_role(me.current, o.oid, 'MEMBER'), false) AS is_of_member
  FROM me LEFT JOIN thing t ON true LEFT JOIN pg_namespace n ON n.oid = t.namespace
  LEFT JOIN LATERAL (
       SELECT CASE WHEN b.rolname = 'pg_database_owner'
                   THEN (SELECT datdba FROM pg_database WHERE datname = current_database())
                   ELSE t.owner END AS owner
         FROM (SELECT (SELECT rolname FROM pg_roles WHERE oid = t.owner) AS rolname) b) w ON true
  LEFT JOIN pg_roles o ON o.oid = w.owner
 ORDER BY t.kind, t.identity, t.is_made DESC";
