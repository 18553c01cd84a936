//! The five-character error code that every server error carries.

use std::fmt;

/// An SQLSTATE, for example `23505`.
///
/// <https://www.postgresql.org/docs/current/errcodes-appendix.html>
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SqlState([u8; 5]);

impl SqlState {
    /// A key or unique constraint was violated.
    pub const UNIQUE_VIOLATION: Self = Self(*b"23505");
    /// The schema, publication, slot or other object is not there.
    pub const UNDEFINED_OBJECT: Self = Self(*b"42704");
    /// The table is not there.
    pub const UNDEFINED_TABLE: Self = Self(*b"42P01");
    /// The function is not there.
    pub const UNDEFINED_FUNCTION: Self = Self(*b"42883");
    /// A type is not the one that is needed.
    pub const DATATYPE_MISMATCH: Self = Self(*b"42804");
    /// The schema is not there.
    pub const INVALID_SCHEMA_NAME: Self = Self(*b"3F000");
    /// All connections, or those that are kept for walsenders, are taken.
    pub const TOO_MANY_CONNECTIONS: Self = Self(*b"53300");
    /// The other side does not keep to the protocol; a pooler's code for all that it refuses.
    pub const PROTOCOL_VIOLATION: Self = Self(*b"08P01");
    /// The role may not do that.
    pub const INSUFFICIENT_PRIVILEGE: Self = Self(*b"42501");
    /// A text is none of its type.
    pub const INVALID_TEXT_REPRESENTATION: Self = Self(*b"22P02");
    /// Something was divided by nothing.
    pub const DIVISION_BY_ZERO: Self = Self(*b"22012");
    /// The object (slot, row) is in use by another session.
    pub const OBJECT_IN_USE: Self = Self(*b"55006");
    /// The object can't be used as it is; for slots: invalidated, or of another database.
    pub const OBJECT_NOT_IN_PREREQUISITE_STATE: Self = Self(*b"55000");
    /// Two rows conflict by an EXCLUDE constraint.
    pub const EXCLUSION_VIOLATION: Self = Self(*b"23P01");
    /// A cancel request, or a COPY ended by CopyFail.
    pub const QUERY_CANCELED: Self = Self(*b"57014");
    /// An administrator ended the session, or its slot was invalidated.
    pub const ADMIN_SHUTDOWN: Self = Self(*b"57P01");
    /// Another process of the server has died, and takes all sessions with it.
    pub const CRASH_SHUTDOWN: Self = Self(*b"57P02");
    /// The server is starting up or shutting down.
    pub const CANNOT_CONNECT_NOW: Self = Self(*b"57P03");
    /// A subscription without a password, by a role that is no superuser.
    pub const PROHIBITED_STATEMENT: Self = Self(*b"2F003");
    /// A column list or a row filter of a publication misses the replica identity, among others.
    pub const INVALID_COLUMN_REFERENCE: Self = Self(*b"42P10");
    /// The server can't do it, such as TRUNCATE of a table that another one refers to.
    pub const FEATURE_NOT_SUPPORTED: Self = Self(*b"0A000");
    /// A name exists already.
    pub const DUPLICATE_OBJECT: Self = Self(*b"42710");

    /// The code from the five bytes of an error's `C` field; `None` if they are not five
    /// digits or upper-case letters.
    #[must_use]
    pub fn from_bytes(code: &[u8]) -> Option<Self> {
        let code: [u8; 5] = code.try_into().ok()?;
        code.iter().all(|b| b.is_ascii_digit() || b.is_ascii_uppercase()).then_some(Self(code))
    }

    /// The code as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("?????")
    }

    /// Its first two characters: the class, for example `08` for connection exceptions.
    #[must_use]
    pub fn class(&self) -> &str {
        self.as_str().get(..2).unwrap_or("??")
    }
}

impl fmt::Display for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_five_upper_case_characters_are_a_code() {
        assert_eq!(SqlState::from_bytes(b"23505"), Some(SqlState::UNIQUE_VIOLATION));
        assert_eq!(SqlState::from_bytes(b"57P01").map(|s| s.class().to_owned()), Some("57".into()));
        for bad in [&b"2350"[..], b"235055", b"2350a", b"\xff\xff\xff\xff\xff"] {
            assert_eq!(SqlState::from_bytes(bad), None);
        }
    }
}
