//! What the source's table has and one that pghost makes will not: told before anything begins.
//!
//! What is made, but may turn out to be impossible, is told when it is tried: see
//! `migrate::objects`.

use super::finding::{At, Findings};
use crate::{
    catalog::{PGHOSTS_TRIGGER, Table},
    conn::{Connection, Error, Row},
    migrate::{Failure, MigrationSpec},
    pg::{Ident, QualifiedName},
};

/// Of the table and its partitions. `$1` is the table, `$2` the publication of the migration.
const UNMADE: &str = "
WITH tree AS (SELECT c.*, c.oid::regclass::text AS spelled
                FROM pg_class c
               WHERE c.oid = $1::oid OR c.oid IN (SELECT relid FROM pg_partition_tree($1::oid))),
     -- Sequences and indexes come with their tables.
     parts AS (SELECT oid, spelled, spelled AS of FROM tree
                UNION ALL
               SELECT i.indexrelid, i.indexrelid::regclass::text, spelled
                 FROM tree JOIN pg_index i ON i.indrelid = tree.oid
                UNION ALL
               SELECT s.oid, s.oid::regclass::text, spelled FROM tree
                 JOIN pg_depend d ON d.refobjid = tree.oid AND d.refobjsubid > 0
                      AND d.refclassid = 'pg_class'::regclass
                      AND d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
                 JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S')
SELECT 'rule' AS kind, spelled AS table, rulename::text AS name, pg_get_ruledef(r.oid) AS more
  FROM tree JOIN pg_rewrite r ON r.ev_class = tree.oid WHERE rulename <> '_RETURN'
 UNION ALL
SELECT 'fence', spelled, tgname::text, NULL
  FROM tree JOIN pg_trigger t ON t.tgrelid = tree.oid
 WHERE NOT t.tgisinternal AND t.tgparentid = 0 AND ($pghosts)
 UNION ALL
SELECT 'owner', p.spelled, string_agg(d.privilege_type, ', ' ORDER BY d.privilege_type),
       CASE c.relkind WHEN 'S' THEN 'SEQUENCE ' ELSE 'TABLE ' END
  FROM parts p JOIN pg_class c ON c.oid = p.oid
 CROSS JOIN LATERAL aclexplode(acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::\"char\",
                                          c.relowner)) d
 WHERE c.relacl IS NOT NULL AND c.relkind IN ('r', 'p', 'S') AND d.grantee = c.relowner
   AND NOT EXISTS (SELECT FROM aclexplode(c.relacl) x
                    WHERE x.grantee = c.relowner AND x.privilege_type = d.privilege_type)
 GROUP BY p.spelled, c.relkind
 UNION ALL
SELECT DISTINCT 'publication', tree.spelled, p.pubname::text, NULL
  FROM tree JOIN pg_namespace n ON n.oid = tree.relnamespace
  JOIN pg_publication_tables p ON p.schemaname = n.nspname AND p.tablename = tree.relname
 WHERE p.pubname <> $2
 UNION ALL
SELECT 'hidden sequence', spelled, a.attname::text, pg_get_expr(f.adbin, f.adrelid)
  FROM tree JOIN pg_attrdef f ON f.adrelid = tree.oid
  JOIN pg_attribute a ON a.attrelid = tree.oid AND a.attnum = f.adnum
 WHERE pg_get_expr(f.adbin, f.adrelid) LIKE '%nextval(%'
   AND NOT EXISTS (SELECT FROM pg_depend d JOIN pg_class s ON s.oid = d.refobjid AND s.relkind = 'S'
                    WHERE d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid
                      AND d.refclassid = 'pg_class'::regclass)
 UNION ALL
SELECT 'security label', p.spelled, l.provider, l.label
  FROM parts p JOIN pg_seclabel l ON l.objoid = p.oid AND l.classoid = 'pg_class'::regclass
 UNION ALL
SELECT 'tablespace', p.of, p.spelled, s.spcname::text
  FROM parts p JOIN pg_class c ON c.oid = p.oid JOIN pg_tablespace s ON s.oid = c.reltablespace
 UNION ALL
SELECT 'invalid index', p.of, p.spelled, NULL
  FROM parts p JOIN pg_index i ON i.indexrelid = p.oid WHERE NOT (i.indisvalid AND i.indisready)
 UNION ALL
SELECT 'extension', p.of, p.spelled, x.extname::text
  FROM parts p JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = p.oid
  JOIN pg_extension x ON d.refclassid = 'pg_extension'::regclass AND x.oid = d.refobjid
 WHERE d.deptype IN ('e', 'x')
 UNION ALL
SELECT 'extension', tree.spelled, t.tgname::text, x.extname::text
  FROM tree JOIN pg_trigger t ON t.tgrelid = tree.oid
  JOIN pg_depend d ON d.classid = 'pg_trigger'::regclass AND d.objid = t.oid
  JOIN pg_extension x ON d.refclassid = 'pg_extension'::regclass AND x.oid = d.refobjid
 UNION ALL
SELECT 'row type', spelled, NULL, t.typacl::text
  FROM tree JOIN pg_type t ON t.oid = tree.reltype WHERE t.typacl IS NOT NULL
 UNION ALL
SELECT 'not null', spelled, con.conname::text,
       CASE WHEN con.convalidated THEN 'its name' ELSE 'NOT VALID' END
  FROM tree JOIN pg_constraint con ON con.conrelid = tree.oid AND con.contype = 'n'
  JOIN pg_attribute a ON a.attrelid = tree.oid AND a.attnum = con.conkey[1]
 WHERE con.connoinherit OR NOT con.convalidated
    OR con.conname <> left(format('%s_%s_not_null', tree.relname, a.attname), 63)
    OR obj_description(con.oid, 'pg_constraint') IS NOT NULL
 UNION ALL
SELECT 'constraint name', spelled, con.conname::text, above.conname::text
  FROM tree JOIN pg_constraint con ON con.conrelid = tree.oid AND con.contype = 'f'
  JOIN pg_constraint above ON above.oid = con.conparentid AND above.conrelid <> con.conrelid
 WHERE con.conname <> above.conname
 UNION ALL
SELECT 'trigger of partition', spelled, t.tgname::text, t.tgenabled::text
  FROM tree JOIN pg_trigger t ON t.tgrelid = tree.oid AND NOT t.tgisinternal
  JOIN pg_trigger above ON above.oid = t.tgparentid
 WHERE t.tgenabled <> above.tgenabled OR obj_description(t.oid, 'pg_trigger') IS NOT NULL
 UNION ALL
SELECT 'maintain', spelled, string_agg(quote_ident(pg_get_userbyid(x.grantee)), ', '), NULL
  FROM tree CROSS JOIN LATERAL aclexplode(relacl) x
 WHERE x.privilege_type = 'MAINTAIN' AND x.grantee <> relowner GROUP BY spelled
 ORDER BY 1, 2, 3";

/// Privileges that the target gives by itself to whatever a role makes.
const DEFAULT_PRIVILEGES: &str = "
SELECT string_agg(DISTINCT CASE WHEN x.grantee = 0 THEN 'PUBLIC'
                           ELSE quote_ident(pg_get_userbyid(x.grantee)) END, ', ') AS roles
  FROM pg_default_acl d
  JOIN pg_roles r ON r.oid = d.defaclrole AND r.rolname = current_user
  LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace
 CROSS JOIN LATERAL aclexplode(d.defaclacl) x
 WHERE d.defaclobjtype IN ('r', 'S') AND (n.nspname IS NULL OR n.nspname = $1)
   AND x.grantee <> d.defaclrole";

/// Tells what a table to be made as `target` will lack.
pub(super) async fn look(
    (source, target): (&mut Connection, &mut Connection),
    table: &Table,
    name: &QualifiedName,
    asked: &MigrationSpec,
    findings: &mut Findings,
) -> Result<(), Failure> {
    let failed = |error: Error| Failure::refused_by("looking for what is not made", &error);
    let at = At::target("left_out").of(&table.name);
    let oid = table.oid.to_string();
    let publication = asked.publication.as_deref().unwrap_or_default();
    let sql = UNMADE.replace("$pghosts", PGHOSTS_TRIGGER);
    let found = source.query_with(&sql, &[Some(&oid), Some(publication)]).await.map_err(failed)?;
    let major = target.server_version().map_err(failed)?.major();
    for row in found.rows() {
        let unmade = Unmade::read(row).map_err(failed)?;
        if unmade.is_lost(major, asked.target_tablespace.is_some()) {
            let (message, hint) = unmade.says(name);
            findings.warn(at, message, hint);
        }
    }
    let schema = name.schema.as_str();
    let given = target.query_with(DEFAULT_PRIVILEGES, &[Some(schema)]).await.map_err(failed)?;
    let roles: Option<String> = given.row().and_then(|row| row.get("roles")).map_err(failed)?;
    if let Some(roles) = roles {
        let plain = name.plain();
        findings.warn(
            at,
            format!(
                "the target's default privileges give rights on {plain} and its sequences to \
                 {roles}, whatever the source does"
            ),
            "REVOKE what is not wanted once the table is there, or ALTER DEFAULT PRIVILEGES before",
        );
    }
    Ok(())
}

struct Unmade {
    kind: String,
    table: String,
    name: String,
    more: String,
}

impl Unmade {
    fn read(row: &Row) -> Result<Self, Error> {
        let text = |column| row.get::<Option<String>>(column).map(Option::unwrap_or_default);
        Ok(Self {
            kind: row.get("kind")?,
            table: row.get("table")?,
            name: text("name")?,
            more: text("more")?,
        })
    }

    /// Whether it is lost on a target of this release.
    fn is_lost(&self, major: u32, has_tablespace: bool) -> bool {
        match self.kind.as_str() {
            "not null" => major < 18,
            "maintain" => major < 17,
            "tablespace" => !has_tablespace,
            _ => true,
        }
    }

    /// What is lost, and what to do about it.
    fn says(&self, target: &QualifiedName) -> (String, String) {
        self.says_of_table(target).or_else(|| self.says_of_parts()).unwrap_or_else(|| {
            let Self { kind, table, name, .. } = self;
            (format!("{kind} {name} of {table} is not made"), "by hand".to_owned())
        })
    }

    /// Of the table as a whole.
    fn says_of_table(&self, target: &QualifiedName) -> Option<(String, String)> {
        let Self { kind, table, name, more } = self;
        let owner = "the owner of";
        Some(match kind.as_str() {
            "rule" => (
                format!("the rule {name} of {table} is not made on the target"),
                format!("make it there at the change-over: {}", more.replace('\n', " ")),
            ),
            "fence" => (
                format!("the trigger {name} of {table} is pghost's own and is not made"),
                "nothing is to be done".to_owned(),
            ),
            "owner" => (
                format!("{owner} {table} has not {name} on the source; {owner} the target's has"),
                format!("at the change-over: REVOKE {name} ON {more}.. FROM its owner"),
            ),
            "publication" => (
                format!("{table} is in the publication {name}; the target's is in none"),
                format!("ALTER PUBLICATION {} ADD TABLE {target} on the target", Ident::new(name)),
            ),
            "hidden sequence" => (
                format!(
                    "the default of {table}.{name}, {more}, takes its values from a sequence by a \
                     text, so that it is neither looked for, nor made, nor set"
                ),
                "make the sequence on the target and set it before anybody writes there".to_owned(),
            ),
            "security label" => (
                format!("a security label of {name} on {table} is not made: {more}"),
                format!("SECURITY LABEL FOR {} .. on the target", Ident::new(name)),
            ),
            "tablespace" => (
                format!("{name} is in the tablespace {more} on the source, which is not kept"),
                "--target-tablespace, or ALTER .. SET TABLESPACE afterwards".to_owned(),
            ),
            "row type" => (
                format!("the privileges on the row type of {table} are not kept: {more}"),
                format!("GRANT USAGE ON TYPE {target} .. on the target"),
            ),
            _ => return None,
        })
    }

    /// Of something that belongs to it.
    fn says_of_parts(&self) -> Option<(String, String)> {
        let Self { kind, table, name, more } = self;
        Some(match kind.as_str() {
            "invalid index" => (
                format!("the index {name} of {table} is not valid, and is not made"),
                format!("REINDEX INDEX {name} on the source before, if it is needed"),
            ),
            "extension" => (
                format!(
                    "that {name} of {table} belongs to, or depends on, the extension {more} \
                         is not kept"
                ),
                format!("ALTER .. DEPENDS ON EXTENSION {}", Ident::new(more)),
            ),
            "not null" => (
                format!(
                    "the target's release has no NOT NULL constraints with names: {more} of {name} \
                     of {table} is lost"
                ),
                "take a target of 18 or later, if that matters".to_owned(),
            ),
            "constraint name" => (
                format!("the foreign key {name} of {table} is called {more} on the target"),
                "nothing calls it by that name but ALTER TABLE".to_owned(),
            ),
            "trigger of partition" => (
                format!(
                    "the trigger {name} of the partition {table} has a state or a comment of its \
                     own (tgenabled is {more}); on the target it is as the whole table's"
                ),
                format!("ALTER TABLE .. ENABLE or DISABLE TRIGGER {} there", Ident::new(name)),
            ),
            "maintain" => (
                format!("the target's release has no MAINTAIN, which {table} grants to {name}"),
                "nothing is to be done".to_owned(),
            ),
            _ => return None,
        })
    }
}
