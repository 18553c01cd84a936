//! Rows and their shapes, as views into the bytes they came in.
//!
//! What a value means is not known here; `conn` reads the few types that catalogs need.

use super::{Reader, WireError};
use crate::pg::Oid;

/// One row of a result, read value by value.
#[derive(Clone, Copy, Debug)]
pub struct DataRow<'a> {
    values: &'a [u8],
    count: u16,
}

impl<'a> DataRow<'a> {
    /// Checks that the row holds exactly the values it counts.
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(body);
        let count = r.columns("column count")?;
        let values = r.rest();
        for _ in 0..count {
            r.value("column value")?;
        }
        r.finish("DataRow")?;
        Ok(Self { values, count })
    }

    /// Its values in order, `None` for NULL.
    pub fn values(&self) -> impl Iterator<Item = Option<&'a [u8]>> + use<'a> {
        let mut r = Reader::new(self.values);
        (0..self.count).map_while(move |_| r.value("column value").ok())
    }
}

/// The shape of a result.
#[derive(Clone, Copy, Debug)]
pub struct RowDescription<'a> {
    columns: &'a [u8],
    count: u16,
}

/// One column of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ColumnDescription<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its type.
    pub type_oid: Oid,
}

impl<'a> RowDescription<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(body);
        let count = r.columns("column count")?;
        let columns = r.rest();
        for _ in 0..count {
            Self::column(&mut r)?;
        }
        r.finish("RowDescription")?;
        Ok(Self { columns, count })
    }

    fn column(r: &mut Reader<'a>) -> Result<ColumnDescription<'a>, WireError> {
        let name = r.text("column name")?;
        r.bytes(6, "table and column number")?;
        let type_oid = Oid(r.u32("type oid")?);
        r.bytes(8, "type length, modifier and format")?;
        Ok(ColumnDescription { name, type_oid })
    }

    /// Its columns in order.
    pub fn columns(&self) -> impl Iterator<Item = ColumnDescription<'a>> + use<'a> {
        let mut r = Reader::new(self.columns);
        (0..self.count).map_while(move |_| Self::column(&mut r).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::caps::COLUMNS_MAX;

    #[test]
    fn rows_are_views_of_their_values() {
        let row = DataRow::parse(b"\0\x02\0\0\0\x01a\xff\xff\xff\xff").unwrap();
        assert_eq!(row.values().collect::<Vec<_>>(), [Some(&b"a"[..]), None]);
    }

    #[test]
    fn a_row_must_hold_what_it_counts() {
        assert!(DataRow::parse(b"\0\x02\0\0\0\x01a").is_err());
        assert!(DataRow::parse(b"\0\x01\0\0\0\x01ab").is_err());
        assert!(DataRow::parse(b"\xff\xff").is_err());
        assert!(DataRow::parse(b"\0\x01\xff\xff\xff\xfe").is_err());
    }

    #[test]
    fn columns_are_described() {
        let body = b"\0\x01id\0\0\0\0\0\0\0\0\0\0\x17\0\x04\xff\xff\xff\xff\0\0";
        let shape = RowDescription::parse(body).unwrap();
        let columns: Vec<_> = shape.columns().collect();
        assert_eq!(columns, [ColumnDescription { name: "id", type_oid: Oid(23) }]);
    }

    #[test]
    fn columns_are_counted_up_to_their_cap() {
        let row = |n: u16| [&n.to_be_bytes()[..], &vec![0xff; 4 * usize::from(n)]].concat();
        assert!(DataRow::parse(&row(COLUMNS_MAX)).is_ok());
        let refused = WireError::Invalid("column count");
        assert_eq!(DataRow::parse(&row(COLUMNS_MAX + 1)).unwrap_err(), refused);
        let shape = |n: u16| [&n.to_be_bytes()[..], &vec![0; 19 * usize::from(n)]].concat();
        assert!(RowDescription::parse(&shape(COLUMNS_MAX)).is_ok());
        assert_eq!(RowDescription::parse(&shape(COLUMNS_MAX + 1)).unwrap_err(), refused);
    }
}
