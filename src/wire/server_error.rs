//! What a server says in an ErrorResponse or a NoticeResponse.

use std::fmt;

use super::{Reader, WireError, caps::ERROR_FIELD_BYTES};
use crate::pg::SqlState;

/// The fields of an error or notice that pghost shows or decides by; unknown ones are passed over.
///
/// <https://www.postgresql.org/docs/current/protocol-error-fields.html>
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerError {
    /// `ERROR`, `FATAL`, `PANIC`, or for notices `WARNING`, `NOTICE`, ...: never translated.
    pub severity: String,
    /// The SQLSTATE; `None` if the server sent none that is well formed.
    pub code: Option<SqlState>,
    /// The primary message.
    pub message: String,
    /// The secondary message with more detail, for example the key that was violated.
    pub detail: Option<String>,
    /// A suggestion.
    pub hint: Option<String>,
    /// Where in a function, COPY line or the like it happened.
    pub context: Option<String>,
    /// The table it is about.
    pub table: Option<String>,
    /// The constraint it is about.
    pub constraint: Option<String>,
}

impl ServerError {
    /// Reads the fields; a message without its closing zero byte is refused.
    pub fn parse(body: &[u8]) -> Result<Self, WireError> {
        let mut error = Self::default();
        let mut reader = Reader::new(body);
        loop {
            let kind = reader.u8("error field type")?;
            if kind == 0 {
                reader.finish("ErrorResponse")?;
                return Ok(error);
            }
            let bytes = reader.cstr("error field")?;
            // An error from before the session is set up can come in any encoding.
            let kept = bytes.get(..ERROR_FIELD_BYTES).unwrap_or(bytes);
            let text = String::from_utf8_lossy(kept).into_owned();
            match kind {
                b'V' => error.severity = text,
                // Only servers before 9.6 send no `V`; `S` may be translated.
                b'S' if error.severity.is_empty() => error.severity = text,
                b'C' => error.code = SqlState::from_bytes(bytes),
                b'M' => error.message = text,
                b'D' => error.detail = Some(text),
                b'H' => error.hint = Some(text),
                b'W' => error.context = Some(text),
                b't' => error.table = Some(text),
                b'n' => error.constraint = Some(text),
                _ => {}
            }
        }
    }

    /// Whether its SQLSTATE is `code`.
    #[must_use]
    pub fn is(&self, code: SqlState) -> bool {
        self.code == Some(code)
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.message)?;
        if let Some(code) = self.code {
            write!(f, " (SQLSTATE {code})")?;
        }
        for (label, text) in [("detail", &self.detail), ("hint", &self.hint)] {
            if let Some(text) = text {
                write!(f, "; {label}: {text}")?;
            }
        }
        // The context of a COPY names the line; of a function, its stack: the first line serves.
        if let Some(context) = self.context.as_deref().and_then(|c| c.lines().next()) {
            write!(f, "; context: {context}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ServerError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_and_unknown_ones_passed_over() {
        let error = ServerError::parse(
            b"SFEHLER\0VERROR\0C23505\0Mduplicate key\0DKey (id)=(1) exists.\0?x\0tt\0nt_pkey\0\0",
        )
        .unwrap();
        assert_eq!(error.severity, "ERROR");
        assert!(error.is(SqlState::UNIQUE_VIOLATION));
        assert_eq!(error.table.as_deref(), Some("t"));
        assert_eq!(error.constraint.as_deref(), Some("t_pkey"));
        assert_eq!(
            error.to_string(),
            "duplicate key (SQLSTATE 23505); detail: Key (id)=(1) exists."
        );
    }

    #[test]
    fn a_cut_or_overlong_message_is_refused() {
        assert!(ServerError::parse(b"Mhalf").is_err());
        assert!(ServerError::parse(b"Mwhole\0").is_err());
        assert!(ServerError::parse(b"Mwhole\0\0x").is_err());
    }

    #[test]
    fn a_field_is_kept_up_to_its_cap() {
        for (sent, kept) in
            [(ERROR_FIELD_BYTES, ERROR_FIELD_BYTES), (ERROR_FIELD_BYTES + 1, ERROR_FIELD_BYTES)]
        {
            let body = [b"M", vec![b'x'; sent].as_slice(), b"\0\0"].concat();
            assert_eq!(ServerError::parse(&body).unwrap().message.len(), kept);
        }
    }
}
