//! What each message consists of, as tables, and the one walk that renders by them.
//!
//! <https://www.postgresql.org/docs/current/protocol-message-formats.html>

use super::super::{Reader, WireError};
use super::line::Line;

/// A field with its name, or several.
pub(super) enum Field {
    /// A byte that says which of several is meant.
    Byte(&'static str),
    /// `Int16`, shown unsigned, as libpq does.
    Int16(&'static str),
    /// `Int32`, signed.
    Int32(&'static str),
    /// `Int32`, unsigned.
    Oid(&'static str),
    /// Text that ends with a zero byte.
    String(&'static str),
    /// An `Int32` length, -1 for NULL, and bytes.
    Value(&'static str),
    /// Bytes to the end.
    Rest,
    /// Bytes to the end that are never shown. A message that has them shows nothing at all when
    /// it is malformed: where they begin is not known then.
    Secret,
    /// An `Int16` count, then these fields as often.
    Many(&'static [Self]),
    /// An `Int32` count, then these fields as often.
    Many32(&'static [Self]),
    /// Names and values up to a zero byte, which is not shown.
    Parameters,
    /// Names up to an empty one, which is shown.
    Mechanisms,
    /// Codes with texts up to a zero byte, which is shown.
    ErrorFields,
}

/// A message: its name and its fields.
pub(super) struct Layout {
    pub(super) name: &'static str,
    pub(super) fields: &'static [Field],
}

impl Layout {
    const fn new(name: &'static str, fields: &'static [Field]) -> Self {
        Self { name, fields }
    }

    /// Whether some of it is never shown.
    pub(super) fn is_secret(&self) -> bool {
        self.fields.iter().any(|field| matches!(field, Secret))
    }

    /// Renders a body by the table; it must end where its fields do.
    pub(super) fn render(&self, body: &[u8], line: &mut Line<'_>) -> Result<(), WireError> {
        let mut reader = Reader::new(body);
        if !self.fields.is_empty() {
            line.fields();
        }
        render(self.fields, &mut reader, line)?;
        reader.finish(self.name)
    }
}

use Field::{
    Byte, ErrorFields, Int16, Int32, Many, Many32, Mechanisms, Oid, Parameters, Rest, Secret,
    String, Value,
};

const COPY_FORMATS: &[Field] = &[Byte("format"), Many(&[Int16("column format")])];

/// What the server sends, by tag. Authentication (`R`) has a table of its own.
pub(super) const BACKEND: &[(u8, Layout)] = &[
    (b'1', Layout::new("ParseComplete", &[])),
    (b'2', Layout::new("BindComplete", &[])),
    (b'3', Layout::new("CloseComplete", &[])),
    (
        b'A',
        Layout::new(
            "NotificationResponse",
            &[Int32("process id"), String("channel"), String("payload")],
        ),
    ),
    (b'C', Layout::new("CommandComplete", &[String("command tag")])),
    (b'D', Layout::new("DataRow", &[Many(&[Value("column value")])])),
    (b'E', Layout::new("ErrorResponse", &[ErrorFields])),
    (b'G', Layout::new("CopyInResponse", COPY_FORMATS)),
    (b'H', Layout::new("CopyOutResponse", COPY_FORMATS)),
    (b'I', Layout::new("EmptyQueryResponse", &[])),
    (b'K', Layout::new("BackendKeyData", &[Int32("process id"), Secret])),
    (b'N', Layout::new("NoticeResponse", &[ErrorFields])),
    (b'S', Layout::new("ParameterStatus", &[String("name"), String("value")])),
    (
        b'T',
        Layout::new(
            "RowDescription",
            &[Many(&[
                String("column name"),
                Oid("table oid"),
                Int16("column number"),
                Oid("type oid"),
                Int16("type size"),
                Int32("type modifier"),
                Int16("format"),
            ])],
        ),
    ),
    (b'V', Layout::new("FunctionCallResponse", &[Value("result")])),
    (b'W', Layout::new("CopyBothResponse", COPY_FORMATS)),
    (b'Z', Layout::new("ReadyForQuery", &[Byte("transaction status")])),
    (b'c', Layout::new("CopyDone", &[])),
    (b'd', Layout::new("CopyData", &[Rest])),
    (b'n', Layout::new("NoData", &[])),
    (b's', Layout::new("PortalSuspended", &[])),
    (b't', Layout::new("ParameterDescription", &[Many(&[Oid("type oid")])])),
    (
        b'v',
        Layout::new(
            "NegotiateProtocolVersion",
            &[Int32("protocol version"), Many32(&[String("option")])],
        ),
    ),
];

/// What we send, by tag. What `p` is depends on what the server asked for: see [`Answer`].
pub(super) const FRONTEND: &[(u8, Layout)] = &[
    (
        b'B',
        Layout::new(
            "Bind",
            &[
                String("portal"),
                String("statement"),
                Many(&[Int16("parameter format")]),
                Many(&[Value("parameter value")]),
                Many(&[Int16("result format")]),
            ],
        ),
    ),
    (b'C', Layout::new("Close", &[Byte("kind"), String("name")])),
    (b'D', Layout::new("Describe", &[Byte("kind"), String("name")])),
    (b'E', Layout::new("Execute", &[String("portal"), Int32("row limit")])),
    (
        b'F',
        Layout::new(
            "FunctionCall",
            &[
                Oid("function oid"),
                Many(&[Int16("argument format")]),
                Many(&[Value("argument")]),
                Int16("result format"),
            ],
        ),
    ),
    (b'H', Layout::new("Flush", &[])),
    (b'P', Layout::new("Parse", &[String("statement"), String("query"), Many(&[Oid("type oid")])])),
    (b'Q', Layout::new("Query", &[String("query")])),
    (b'S', Layout::new("Sync", &[])),
    (b'X', Layout::new("Terminate", &[])),
    (b'c', Layout::new("CopyDone", &[])),
    (b'd', Layout::new("CopyData", &[Rest])),
    (b'f', Layout::new("CopyFail", &[String("reason")])),
];

/// What we send without a tag, by the request code where the protocol's version would stand.
pub(super) const UNTAGGED: &[(u32, Layout)] = &[
    (CANCEL, Layout::new("CancelRequest", &[MAJOR, MINOR, Int32("process id"), Secret])),
    (request(5679), Layout::new("SSLRequest", &[MAJOR, MINOR])),
    (request(5680), Layout::new("GSSENCRequest", &[MAJOR, MINOR])),
];

/// A StartupMessage, with any other version.
pub(super) const STARTUP: Layout = Layout::new("StartupMessage", &[MAJOR, MINOR, Parameters]);

/// A message without a tag that ends before its version or code does.
pub(super) const TOO_SHORT: Layout = Layout::new("Unknown message", &[MAJOR, MINOR]);

/// The code of a CancelRequest.
pub(super) const CANCEL: u32 = request(5678);

const MAJOR: Field = Int16("major protocol version");
const MINOR: Field = Int16("minor protocol version");

const fn request(code: u32) -> u32 {
    1234 << 16 | code
}

/// What an Authentication message asks us for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Nothing that is known.
    Unknown,
    /// A password or its hash.
    Password,
    /// A token of GSSAPI or SSPI.
    Gss,
    /// The choice of a mechanism, with its first message.
    SaslInitial,
    /// The mechanism's next message.
    Sasl,
}

impl Answer {
    /// The message that answers.
    pub(super) const fn layout(self) -> Layout {
        match self {
            Self::Unknown => Layout::new("UnknownAuthenticationResponse", &[Secret]),
            Self::Password => Layout::new("PasswordMessage", &[Secret]),
            Self::Gss => Layout::new("GSSResponse", &[Secret]),
            Self::SaslInitial => Layout::new(
                "SASLInitialResponse",
                &[String("mechanism"), Int32("response length"), Secret],
            ),
            Self::Sasl => Layout::new("SASLResponse", &[Secret]),
        }
    }
}

/// Authentication messages by their code, without it. Salts, nonces and signatures are hidden:
/// with some of them passwords can be guessed offline.
pub(super) const AUTHENTICATION: &[(i32, Layout, Answer)] = &[
    (0, Layout::new("AuthenticationOk", &[]), Answer::Unknown),
    (2, Layout::new("AuthenticationKerberosV5", &[]), Answer::Unknown),
    (3, Layout::new("AuthenticationCleartextPassword", &[]), Answer::Password),
    (5, Layout::new("AuthenticationMD5Password", &[Secret]), Answer::Password),
    (7, Layout::new("AuthenticationGSS", &[]), Answer::Gss),
    (8, Layout::new("AuthenticationGSSContinue", &[Secret]), Answer::Gss),
    (9, Layout::new("AuthenticationSSPI", &[]), Answer::Gss),
    (10, Layout::new("AuthenticationSASL", &[Mechanisms]), Answer::SaslInitial),
    (11, Layout::new("AuthenticationSASLContinue", &[Secret]), Answer::Sasl),
    (12, Layout::new("AuthenticationSASLFinal", &[Secret]), Answer::Unknown),
];

/// An Authentication message that ends before its code does.
pub(super) const CODELESS: Layout =
    Layout::new("Authentication", &[Int32("authentication code"), Secret]);

fn render(fields: &[Field], r: &mut Reader<'_>, line: &mut Line<'_>) -> Result<(), WireError> {
    for field in fields {
        match field {
            Byte(name) => line.byte(r.u8(name)?),
            Int16(name) => line.number(r.u16(name)?),
            Int32(name) => line.number(r.i32(name)?),
            Oid(name) => line.number(r.u32(name)?),
            String(name) => line.string(r.cstr(name)?),
            Value(name) => value(r, name, line)?,
            Rest => line.bytes(rest(r)),
            Secret if rest(r).is_empty() => {}
            Secret => line.hidden(),
            Many(fields) => {
                let count = r.u16("count")?;
                line.number(count);
                for _ in 0..count {
                    render(fields, r, line)?;
                }
            }
            Many32(fields) => {
                let count = r.i32("count")?;
                line.number(count);
                for _ in 0..count {
                    render(fields, r, line)?;
                }
            }
            Parameters => loop {
                match r.cstr("parameter name")? {
                    [] => break,
                    name => line.string(name),
                }
                line.string(r.cstr("parameter value")?);
            },
            Mechanisms => loop {
                let name = r.cstr("SASL mechanism")?;
                line.string(name);
                if name.is_empty() {
                    break;
                }
            },
            ErrorFields => loop {
                let code = r.u8("error field type")?;
                line.byte(code);
                if code == 0 {
                    break;
                }
                line.string(r.cstr("error field")?);
            },
        }
    }
    Ok(())
}

fn value(r: &mut Reader<'_>, name: &'static str, line: &mut Line<'_>) -> Result<(), WireError> {
    match r.value(name)? {
        None => line.number(-1),
        Some(bytes) => {
            line.number(i64::try_from(bytes.len()).unwrap_or(i64::MAX));
            line.bytes(bytes);
        }
    }
    Ok(())
}

fn rest<'a>(r: &mut Reader<'a>) -> &'a [u8] {
    let rest = r.rest();
    *r = Reader::new(&[]);
    rest
}
