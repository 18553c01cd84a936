//! What the order of a key depends on, so that two servers' orders can be told to be the same.

use super::Table;
use crate::{
    conn::{Connection, Error, Row},
    pg::{Oid, ServerVersion},
    sql::KeyColumn,
};

/// Of each column: what its collation is made of, or the database's where it is the default one.
///
/// As JSON, a column that a release does not have is NULL: locales of ICU are in `collcollate` in
/// 14, in `colliculocale` in 15 and 16, and in `colllocale` from 17 on.
const COLLATIONS: &str = "
SELECT a.attname, getdatabaseencoding() AS encoding,
       coalesce(c.is_default, false) AS is_default,
       CASE WHEN is_default THEN coalesce(to_jsonb(d) ->> 'datlocprovider', 'c')
            ELSE collprovider::text END AS provider,
       CASE WHEN is_default AND coalesce(to_jsonb(d) ->> 'datlocprovider', 'c') = 'c'
            THEN datcollate::text
            WHEN is_default
            THEN coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale')
            ELSE coalesce(j ->> 'colllocale', j ->> 'colliculocale', collcollate::text)
             END AS locale,
       CASE WHEN is_default THEN to_jsonb(d) ->> 'daticurules'
            ELSE j ->> 'collicurules' END AS rules,
       coalesce(collisdeterministic, true) AS deterministic,
       CASE WHEN NOT is_default THEN pg_collation_actual_version(c.oid) END AS version
  FROM pg_attribute a
  JOIN pg_database d ON d.datname = current_database()
  LEFT JOIN LATERAL (SELECT co.*, to_jsonb(co) AS j, co.collprovider = 'd' AS is_default
                       FROM pg_collation co WHERE co.oid = a.attcollation) c ON true
 WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped";

/// The version of the database's own collation, which 14 does not tell.
const DEFAULT_VERSION: &str = "
SELECT pg_database_collation_actual_version(oid) AS version
  FROM pg_database WHERE datname = current_database()";

/// Types whose order is the type's own, on every release and machine.
const FIXED: &[u32] = &[
    16, 17, 18, 26, 650, 700, 701, 774, 790, 829, 869, 1082, 1083, 1114, 1184, 1186, 1266, 1560,
    1562, 1700, 2950, 3220, 3904, 3906, 3908, 3910, 3912, 3926,
];
/// Types that are ordered by a collation.
const COLLATED: &[u32] = &[19, 25, 1042, 1043];

/// What the order of each key column depends on. Two columns with the same text here, on whichever
/// servers, have the same order. `None` where that can't be told.
pub async fn load_ordering(
    connection: &mut Connection,
    table: Oid,
    key: &[KeyColumn],
) -> Result<Vec<Option<String>>, Error> {
    let default_version: Option<String> =
        match connection.server_version()? >= ServerVersion::from_num(150_000) {
            true => match Error::if_answered(connection.query(DEFAULT_VERSION).await)? {
                Ok(result) => result.row()?.get("version")?,
                Err(_) => None,
            },
            false => None,
        };
    let oid = table.to_string();
    let result = connection.query_with(COLLATIONS, &[Some(&oid)]).await?;
    let of = |column: &KeyColumn| {
        let is_it =
            |row: &&Row| row.get::<String>("attname").is_ok_and(|n| n == column.name.as_str());
        match result.rows().iter().find(is_it) {
            Some(row) => Ok(ordering(column, &collation(row, default_version.as_deref())?)),
            None => Ok(None),
        }
    };
    key.iter().map(of).collect()
}

/// The same as one text, for being compared with what it is later: where the order can't be told,
/// at least which collation it is by.
pub async fn load_key_order(
    connection: &mut Connection,
    table: &Table,
    key: &[KeyColumn],
) -> Result<String, Error> {
    let orders = load_ordering(connection, table.oid, key).await?;
    let of_column = |(column, order): (&KeyColumn, Option<String>)| {
        let collation = table.column(&column.name).and_then(|column| column.collation.as_deref());
        format!("{} {}", order.as_deref().unwrap_or("?"), collation.unwrap_or_default())
    };
    Ok(key.iter().zip(orders).map(of_column).collect::<Vec<_>>().join(", "))
}

#[derive(Debug, Default)]
struct Collation {
    encoding: String,
    provider: Option<String>,
    locale: Option<String>,
    rules: Option<String>,
    deterministic: bool,
    version: Option<String>,
}

fn collation(row: &Row, default_version: Option<&str>) -> Result<Collation, Error> {
    let is_default: bool = row.get("is_default")?;
    let version: Option<String> = row.get("version")?;
    Ok(Collation {
        encoding: row.get("encoding")?,
        provider: row.get("provider")?,
        locale: row.get("locale")?,
        rules: row.get("rules")?,
        deterministic: row.get("deterministic")?,
        version: version.or_else(|| default_version.filter(|_| is_default).map(str::to_owned)),
    })
}

/// The order that the type has, by the operators of the index.
fn ordering(column: &KeyColumn, collation: &Collation) -> Option<String> {
    let order = of_type(column, collation)?;
    Some(format!("{order} by {}", column.operators.less_than()))
}

fn of_type(column: &KeyColumn, collation: &Collation) -> Option<String> {
    if column.is_integer() {
        return Some("integer".to_owned());
    }
    let oid = column.type_oid.0;
    if FIXED.contains(&oid) {
        return Some(oid.to_string());
    }
    if !COLLATED.contains(&oid) {
        return None;
    }
    // Padding is not compared.
    let kind = if oid == 1042 { "padded" } else { "text" };
    let Collation { encoding, provider, locale, rules, deterministic, version } = collation;
    let (provider, locale) = (provider.as_deref()?, locale.as_deref()?);
    match (provider, locale, version) {
        // By bytes, which differ between encodings. All of the builtin ones are by code point.
        ("c", "C" | "POSIX", _) | ("b", ..) => Some(format!("{kind} by bytes of {encoding}")),
        (_, _, Some(version)) => {
            let rules = rules.as_deref().unwrap_or_default();
            Some(format!("{kind} by {provider} {locale} {version} {deterministic} {rules}"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collation(provider: &str, locale: &str, version: Option<&str>) -> Collation {
        Collation {
            encoding: "UTF8".into(),
            provider: Some(provider.into()),
            locale: Some(locale.into()),
            deterministic: true,
            version: version.map(str::to_owned),
            ..Collation::default()
        }
    }

    #[test]
    fn only_orders_that_are_known_to_be_the_same_are_called_the_same() {
        let of =
            |oid, collation: &Collation| ordering(&KeyColumn::builtin("k", oid, "type"), collation);
        let none = Collation::default();
        assert_eq!(of(20, &none), of(23, &none));
        assert!(of(2950, &none).is_some() && of(2950, &none) != of(1700, &none));
        // An enum, a composite type, citext.
        assert_eq!(of(16_500, &none), None);
        let c = collation("c", "C", None);
        assert_eq!(of(25, &c), of(1043, &collation("b", "C.UTF-8", Some("1"))));
        assert_ne!(of(25, &c), of(1042, &c));
        assert_ne!(
            of(25, &c),
            of(25, &Collation { encoding: "LATIN1".into(), ..collation("c", "C", None) })
        );
        // An index may have other operators than the type's own.
        let mut by_patterns = KeyColumn::builtin("k", 25, "text");
        by_patterns.operators.less_than = "~<~".into();
        assert_ne!(of(25, &c), ordering(&by_patterns, &c));
        // Without a version nobody knows.
        assert_eq!(of(25, &collation("c", "en_US.utf8", None)), None);
        let icu = |version| of(25, &collation("i", "de", Some(version)));
        assert_eq!(icu("153.120"), icu("153.120"));
        assert_ne!(icu("153.120"), icu("153.121"));
    }
}
