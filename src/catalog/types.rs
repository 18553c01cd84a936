//! Which types may travel in binary.

use crate::pg::{Oid, ServerVersion};

/// Built-in types whose binary form says everything their text form says, the same on 14 to 18
/// and whatever the two databases contain; with the type of their arrays. But see [`MEANS`].
///
/// Left out on purpose: `reg*` and `oid` (object ids of one server), `money` (its scale follows
/// lc_monetary), `xml` (carries an encoding), `tsvector` and `tsquery` (readers have differed in
/// how they check it), `aclitem` (has no binary form), `"char"` and `name` (not worth a row).
/// Everything that is not built in travels as text: its object id differs between databases.
const SAFE: &[(&str, u32, u32)] = &[
    ("boolean", 16, 1000),
    ("bytea", 17, 1001),
    ("bigint", 20, 1016),
    ("smallint", 21, 1005),
    ("integer", 23, 1007),
    ("text", 25, 1009),
    ("json", 114, 199),
    ("point", 600, 1017),
    ("real", 700, 1021),
    ("double precision", 701, 1022),
    ("macaddr8", 774, 775),
    ("macaddr", 829, 1040),
    ("inet", 869, 1041),
    ("cidr", 650, 651),
    ("character", 1042, 1014),
    ("character varying", 1043, 1015),
    ("date", 1082, 1182),
    ("time without time zone", 1083, 1183),
    ("timestamp without time zone", 1114, 1115),
    ("timestamp with time zone", 1184, 1185),
    ("interval", 1186, 1187),
    ("time with time zone", 1266, 1270),
    ("bit", 1560, 1561),
    ("bit varying", 1562, 1563),
    ("numeric", 1700, 1231),
    ("uuid", 2950, 2951),
    ("jsonb", 3802, 3807),
    ("int4range", 3904, 3905),
    ("numrange", 3906, 3907),
    ("tsrange", 3908, 3909),
    ("tstzrange", 3910, 3911),
    ("daterange", 3912, 3913),
    ("int8range", 3926, 3927),
];

/// Types of which some bytes mean one thing before a release and another from it on: the greatest
/// interval is a number of years up to 16, and from 17 on `infinity`. As text the other server says
/// what it does not know.
const MEANS: &[(u32, u32, ServerVersion)] = &[(1186, 1187, ServerVersion::from_num(170_000))];

/// Whether values of this type may travel in binary between servers of these releases, on which
/// the column has exactly this type.
#[must_use]
pub fn binary_is_safe(type_oid: Oid, between: [ServerVersion; 2]) -> bool {
    let is = |base: u32, array: u32| type_oid.0 == base || type_oid.0 == array;
    let [one, other] = between;
    SAFE.iter().any(|&(_, base, array)| is(base, array))
        && MEANS
            .iter()
            .all(|&(base, array, since)| !is(base, array) || (one >= since) == (other >= since))
}

/// Types of which equal values have equal bytes, as text and in binary, if their collation tells
/// all strings apart. Not among them: numbers with a scale (1.0 and 1.00), floats (0 and -0),
/// intervals (24 hours and a day), padded strings, and all that is made of other types.
const SAME_BYTES: &[u32] = &[16, 17, 19, 20, 21, 23, 25, 26, 1043, 1082, 1083, 1114, 1184, 2950];

/// Whether values of this type that are equal have the same bytes, and only they.
#[must_use]
pub fn equal_means_same_bytes(type_oid: Oid) -> bool {
    SAME_BYTES.contains(&type_oid.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn safe(type_oid: u32, one: u32, other: u32) -> bool {
        let of = |major: u32| ServerVersion::from_num(major * 10_000 + 3);
        binary_is_safe(Oid(type_oid), [of(one), of(other)])
    }

    #[test]
    fn only_listed_types_are_safe() {
        assert!(safe(23, 14, 18) && safe(1009, 18, 14));
        for unsafe_type in [26, 790, 1033, 2205, 3614, 16_384] {
            assert!(!safe(unsafe_type, 18, 18), "{unsafe_type}");
        }
    }

    #[test]
    fn intervals_are_safe_where_they_mean_the_same() {
        for interval in [1186, 1187] {
            for (one, other, are) in
                [(14, 16, true), (17, 18, true), (16, 17, false), (17, 16, false), (18, 14, false)]
            {
                assert_eq!(safe(interval, one, other), are, "{one} to {other}");
            }
        }
    }
}
