//! What types are made of, so that those of one name can be compared on two servers.
//!
//! A value that travels as text is read by its parts' places: fields of another order take each
//! other's values without a word.

use std::collections::BTreeMap;

use crate::{
    conn::{Connection, Error, Row},
    sql::quote_literal,
};

/// From some types down to what is built in: fields, labels, and what a domain or a range is of.
const PARTS: &str = "
WITH RECURSIVE used (oid) AS (
      SELECT to_regtype(name)::oid FROM unnest($1::text[]) AS given (name)
       WHERE to_regtype(name) IS NOT NULL
       UNION
      SELECT below.oid
        FROM used
        JOIN pg_catalog.pg_type t ON t.oid = used.oid
       CROSS JOIN LATERAL (
             SELECT t.typelem UNION ALL SELECT t.typbasetype
              UNION ALL
             SELECT r.rngsubtype FROM pg_catalog.pg_range r
              WHERE t.oid IN (r.rngtypid, r.rngmultitypid)
              UNION ALL
             SELECT r.rngtypid FROM pg_catalog.pg_range r WHERE t.oid = r.rngmultitypid
              UNION ALL
             SELECT a.atttypid FROM pg_catalog.pg_attribute a
              WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
             ) below (oid)
       WHERE below.oid >= 16384)
SELECT format_type(t.oid, NULL) AS name, t.typtype AS kind,
       CASE t.typtype WHEN 'd' THEN format_type(t.typbasetype, t.typtypmod)
            WHEN 'r' THEN (SELECT format_type(r.rngsubtype, NULL)
                             FROM pg_catalog.pg_range r WHERE r.rngtypid = t.oid) END AS base,
       (SELECT coalesce(json_agg(quote_ident(a.attname) || ' '
                                 || format_type(a.atttypid, a.atttypmod) ORDER BY a.attnum), '[]')
          FROM pg_catalog.pg_attribute a
         WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped) AS fields,
       (SELECT coalesce(json_agg(e.enumlabel ORDER BY e.enumsortorder), '[]')
          FROM pg_catalog.pg_enum e WHERE e.enumtypid = t.oid) AS labels
  FROM used JOIN pg_catalog.pg_type t ON t.oid = used.oid
 WHERE t.oid >= 16384 AND t.typtype IN ('c', 'd', 'e', 'r')";

/// What a type is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
    /// `typtype`: composite, domain, enum or range.
    kind: char,
    /// What a domain or a range is of.
    base: Option<String>,
    /// Of a composite type: names and types in order.
    fields: Vec<String>,
    /// Of an enum.
    labels: Vec<String>,
}

/// How a type differs from the source's, and what mends it on the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// A sentence.
    pub what: String,
    /// What to do.
    pub mend: String,
}

/// What types are made of, by their names.
pub type Composition = BTreeMap<String, Parts>;

/// Asks a server, once for all of them; types that it has not are left out.
pub async fn load_composition(
    connection: &mut Connection,
    names: &[String],
) -> Result<Composition, Error> {
    if names.is_empty() {
        return Ok(Composition::new());
    }
    let list: Vec<_> = names.iter().map(|name| quote_literal(name)).collect();
    let sql = PARTS.replace("$1::text[]", &format!("ARRAY[{}]", list.join(", ")));
    connection.query(&sql).await?.rows().iter().map(parts).collect()
}

fn parts(row: &Row) -> Result<(String, Parts), Error> {
    let list = |column| {
        let json: String = row.get(column)?;
        let list = serde_json::from_str::<Vec<String>>(&json);
        list.map_err(|error| Error::Result(format!("the {column} of a type: {error}")))
    };
    let (kind, base) = (row.get("kind")?, row.get("base")?);
    let parts = Parts { kind, base, fields: list("fields")?, labels: list("labels")? };
    Ok((row.get("name")?, parts))
}

/// How the target's types differ from the source's, of those that both have. Of an enum the order
/// does not count here, nor labels that only the target has.
#[must_use]
pub fn compare(source: &Composition, target: &Composition) -> Vec<Difference> {
    let both = source.iter().filter_map(|(name, ours)| Some((name, ours, target.get(name)?)));
    both.filter_map(|(name, ours, theirs)| difference(name, ours, theirs)).collect()
}

fn difference(name: &str, ours: &Parts, theirs: &Parts) -> Option<Difference> {
    let again = || format!("make the type {name} of the target as it is on the source");
    if ours.kind != theirs.kind {
        let what = format!("the type {name} is of another kind on the target");
        return Some(Difference { what, mend: again() });
    }
    if ours.base != theirs.base {
        let of = |parts: &Parts| parts.base.clone().unwrap_or_default();
        let what = format!(
            "the type {name} is made of {} on the source and of {} on the target",
            of(ours),
            of(theirs)
        );
        return Some(Difference { what, mend: again() });
    }
    if ours.fields != theirs.fields {
        let what = format!(
            "the type {name} has the fields ({}) on the source and ({}) on the target, and values \
             are read by their places",
            ours.fields.join(", "),
            theirs.fields.join(", ")
        );
        return Some(Difference { what, mend: again() });
    }
    let lacking: Vec<_> =
        ours.labels.iter().filter(|label| !theirs.labels.contains(label)).collect();
    if lacking.is_empty() {
        return None;
    }
    let listed: Vec<_> = lacking.iter().map(|label| quote_literal(label)).collect();
    let add = |label: &String| format!("ALTER TYPE {name} ADD VALUE {label}");
    Some(Difference {
        what: format!("the enum {name} lacks labels on the target: {}", listed.join(", ")),
        mend: listed.iter().map(add).collect::<Vec<_>>().join("; "),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(kind: char, base: Option<&str>, fields: &[&str], labels: &[&str]) -> Composition {
        let list = |list: &[&str]| list.iter().map(|part| (*part).to_owned()).collect();
        let base = base.map(str::to_owned);
        let parts = Parts { kind, base, fields: list(fields), labels: list(labels) };
        [("public.x".to_owned(), parts)].into()
    }

    #[test]
    fn what_values_are_read_by_must_be_the_same() {
        let (ours, theirs) = (of('c', None, &["a int", "b int"], &[]), Composition::new());
        assert_eq!(compare(&ours, &ours), []);
        assert_eq!(compare(&ours, &theirs), [], "whether it is there is asked elsewhere");
        let turned = of('c', None, &["b int", "a int"], &[]);
        assert!(compare(&ours, &turned)[0].what.contains("(b int, a int) on the target"));
        let domain = of('d', Some("integer"), &[], &[]);
        assert!(compare(&domain, &of('d', Some("text"), &[], &[]))[0].what.contains("of text on"));
        assert!(compare(&domain, &ours)[0].what.contains("another kind"));
    }

    #[test]
    fn a_label_may_be_more_and_stand_elsewhere_but_not_be_missing() {
        let (ours, more) = (of('e', None, &[], &["a", "b"]), of('e', None, &[], &["c", "b", "a"]));
        assert_eq!(compare(&ours, &more), []);
        let [lacks] = &compare(&more, &ours)[..] else { panic!() };
        assert!(lacks.what.ends_with("lacks labels on the target: 'c'"));
        assert_eq!(lacks.mend, "ALTER TYPE public.x ADD VALUE 'c'");
    }
}
