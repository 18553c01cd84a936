//! The sequences that a table's columns own: what the source says of them, and how they are made on
//! the target.
//!
//! A sequence keeps its name where that is free: applications may call it. It lives in the schema
//! of its table, since the server wants it there.

use super::{
    model::{ExtraGrant, ExtraSequence},
    object::{Names, Object, ObjectKind, comment_on, grants_on},
};
use crate::{
    conn::{Connection, Error, Row},
    pg::{Ident, QualifiedName},
    sql::quote_literal,
};

/// One row for each privilege of each sequence, one without any for a sequence without grants.
const SEQUENCES: &str = "
SELECT n.nspname, c.relname, c.oid::regclass::text AS spelled, a.attname,
       d.deptype = 'i' AS identity, c.relpersistence = 'u' AS unlogged,
       format_type(s.seqtypid, NULL) AS type_name,
       'INCREMENT ' || s.seqincrement || ' MINVALUE ' || s.seqmin || ' MAXVALUE ' || s.seqmax
         || ' START ' || s.seqstart || ' CACHE ' || s.seqcache
         || CASE WHEN s.seqcycle THEN ' CYCLE' ELSE '' END AS options,
       obj_description(c.oid, 'pg_class') AS comment,
       CASE WHEN x.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(x.grantee)) END
         AS role, x.privilege_type, x.is_grantable
  FROM pg_depend d
  JOIN pg_class c ON c.oid = d.objid AND c.relkind = 'S'
  JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_sequence s ON s.seqrelid = c.oid
  JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
  LEFT JOIN LATERAL (SELECT * FROM aclexplode(c.relacl) x WHERE x.grantee <> c.relowner) x ON true
 WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
   AND d.refobjid = $1::oid AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i')
 ORDER BY a.attnum, d.deptype DESC, n.nspname, c.relname, role, x.privilege_type";

/// Reads the sequences that a table's columns own.
pub(super) async fn load_sequences(
    connection: &mut Connection,
    oid: &str,
) -> Result<Vec<ExtraSequence>, Error> {
    let mut found: Vec<ExtraSequence> = Vec::new();
    for row in connection.query_with(SEQUENCES, &[Some(oid)]).await?.rows() {
        let name = QualifiedName::new(row.get::<String>("nspname")?, row.get::<String>("relname")?);
        if found.last().is_none_or(|last| last.name != name) {
            found.push(sequence(row, name)?);
        }
        if let (Some(last), Some(role)) = (found.last_mut(), row.get::<Option<String>>("role")?) {
            last.grants.push(ExtraGrant {
                role,
                privilege: row.get("privilege_type")?,
                column: None,
                grantable: row.get("is_grantable")?,
            });
        }
    }
    Ok(found)
}

fn sequence(row: &Row, name: QualifiedName) -> Result<ExtraSequence, Error> {
    Ok(ExtraSequence {
        name,
        spelled: row.get("spelled")?,
        column: Ident::new(row.get::<String>("attname")?),
        identity: row.get("identity")?,
        unlogged: row.get("unlogged")?,
        type_name: row.get("type_name")?,
        options: row.get("options")?,
        comment: row.get("comment")?,
        grants: Vec::new(),
    })
}

/// A sequence and what it is called on the target.
#[derive(Clone, Debug)]
pub struct NamedSequence<'a> {
    /// The source's.
    pub sequence: &'a ExtraSequence,
    /// Its name on the target.
    pub name: QualifiedName,
}

impl NamedSequence<'_> {
    /// The statement that makes it before its table, if it is not an identity column's.
    pub(super) fn create(&self) -> Option<String> {
        let ExtraSequence { unlogged, type_name, options, .. } = self.sequence;
        let kind = if *unlogged { "UNLOGGED SEQUENCE" } else { "SEQUENCE" };
        let sql = format!("CREATE {kind} {} AS {type_name} {options}", self.name);
        (!self.sequence.identity).then_some(sql)
    }

    /// The statements that settle it once its table is there.
    pub(super) fn settle(&self, table: &QualifiedName) -> Vec<String> {
        let Self { sequence, name } = self;
        let owned = format!("ALTER SEQUENCE {name} OWNED BY {table}.{}", sequence.column);
        let unlogged = format!("ALTER SEQUENCE {name} SET UNLOGGED");
        match (sequence.identity, sequence.unlogged) {
            (false, _) => vec![owned],
            (true, true) => vec![unlogged],
            (true, false) => Vec::new(),
        }
    }

    /// What else it has, once all rows are there.
    fn objects(&self) -> Vec<Object> {
        let Self { sequence, name } = self;
        let mut objects = grants_on(&format!("SEQUENCE {name}"), &sequence.grants);
        let comment = comment_on(&format!("SEQUENCE {name}"), sequence.comment.as_ref());
        if !comment.is_empty() {
            let of = sequence.name.name.as_str().to_owned();
            objects.push(Object { kind: ObjectKind::Comment, name: of, statements: comment });
        }
        objects
    }
}

/// Chooses what a table's sequences are called on the target.
pub fn name_sequences<'a>(
    sequences: &'a [ExtraSequence],
    (source, target): (&QualifiedName, &QualifiedName),
    names: &mut Names,
) -> Vec<NamedSequence<'a>> {
    let named = |sequence: &'a ExtraSequence| {
        let name = names.choose(sequence.name.name.as_str(), source, target);
        NamedSequence { sequence, name: QualifiedName { schema: target.schema.clone(), name } }
    };
    sequences.iter().map(named).collect()
}

/// Privileges and comments of a table's sequences.
#[must_use]
pub fn sequence_objects(sequences: &[NamedSequence<'_>]) -> Vec<Object> {
    sequences.iter().flat_map(NamedSequence::objects).collect()
}

/// An expression with the names that its sequences have on the target.
///
/// What is looked for can't stand within a string, in which quotes are doubled. `pg_get_expr`
/// writes backslashes as they are (`simple_quote_literal` in `ruleutils.c`). In two steps, since
/// one sequence may get the name that another one had; no text of Postgres holds a NUL.
pub(super) fn with_names(expression: &str, sequences: &[NamedSequence<'_>]) -> String {
    let mark = |at: usize| format!("\0{at}\0");
    let marked = sequences.iter().enumerate().fold(expression.to_owned(), |text, (at, named)| {
        let spelled = named.sequence.spelled.replace('\'', "''");
        text.replace(&format!("'{spelled}'::regclass"), &mark(at))
    });
    sequences.iter().enumerate().fold(marked, |text, (at, named)| {
        text.replace(&mark(at), &format!("{}::regclass", quote_literal(&named.name.to_string())))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_call_sequences_by_their_names_on_the_target() {
        let sequence = |spelled: &str| ExtraSequence {
            name: QualifiedName::new("public", "s"),
            spelled: spelled.into(),
            column: Ident::new("id"),
            identity: false,
            unlogged: false,
            type_name: "bigint".into(),
            options: String::new(),
            comment: None,
            grants: Vec::new(),
        };
        let (a, b) = (sequence("public.a"), sequence("public.\"b'\\\""));
        // Each gets a name that the other one had.
        let sequences = [
            NamedSequence { sequence: &a, name: QualifiedName::new("public", "b'\\") },
            NamedSequence { sequence: &b, name: QualifiedName::new("public", "a") },
        ];
        let text = "('public.a''::regclass'::text || nextval('public.a'::regclass)) || \
                    nextval('public.\"b''\\\"'::regclass)";
        assert_eq!(
            with_names(text, &sequences),
            "('public.a''::regclass'::text || nextval( E'\"public\".\"b''\\\\\"'::regclass)) || \
             nextval('\"public\".\"a\"'::regclass)"
        );
    }
}
