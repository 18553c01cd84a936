//! How a COPY begins: what the server says of the rows that are to follow.
//!
//! The rows themselves are `copy_text`'s and `copy_binary`'s; the conversation is `conn`'s.

use super::{Format, Reader, WireError};

/// CopyInResponse, CopyOutResponse or CopyBothResponse.
#[derive(Clone, Copy, Debug)]
pub struct CopyResponse<'a> {
    /// The format of the COPY as a whole.
    pub format: Format,
    columns: &'a [u8],
}

impl<'a> CopyResponse<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(body);
        let format = match r.u8("COPY format")? {
            0 => Format::Text,
            1 => Format::Binary,
            _ => return Err(WireError::Invalid("COPY format")),
        };
        let count = r.columns("column count")?;
        let columns = r.rest();
        for _ in 0..count {
            Format::read(&mut r)?;
        }
        r.finish("CopyResponse")?;
        Ok(Self { format, columns })
    }

    /// The format of each column; none for the replication stream.
    pub fn columns(&self) -> impl Iterator<Item = Format> + use<'a> {
        let mut r = Reader::new(self.columns);
        std::iter::from_fn(move || Format::read(&mut r).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::caps::COLUMNS_MAX;

    #[test]
    fn formats_are_read() {
        let response = CopyResponse::parse(b"\x01\0\x02\0\x01\0\0").unwrap();
        assert_eq!(response.format, Format::Binary);
        assert_eq!(response.columns().collect::<Vec<_>>(), [Format::Binary, Format::Text]);
        assert_eq!(CopyResponse::parse(b"\0\0\0").unwrap().columns().count(), 0);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for wrong in [&b""[..], b"\x02\0\0", b"\0\0\x01", b"\0\0\x01\0\x02", b"\0\0\0x"] {
            assert!(CopyResponse::parse(wrong).is_err(), "{wrong:?}");
        }
        let columns = |n: u16| [&[0][..], &n.to_be_bytes(), &vec![0; 2 * usize::from(n)]].concat();
        assert!(CopyResponse::parse(&columns(COLUMNS_MAX)).is_ok());
        assert!(CopyResponse::parse(&columns(COLUMNS_MAX + 1)).is_err());
    }
}
