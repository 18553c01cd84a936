//! What to ask of a stream: the options of START_REPLICATION, and which server knows which.
//!
//! | option | 14 | 15 | 16 to 18 | needs |
//! |---|---|---|---|---|
//! | `proto_version` | 1, 2 | to 3 | to 4 | |
//! | `streaming` | off, on | off, on | and parallel | version 2; parallel version 4 |
//! | `two_phase` | | yes | yes | version 3, and a slot made for it |
//! | `origin` | | | yes | |
//! | `binary`, `messages` | yes | yes | yes | |
//!
//! Pure. <https://www.postgresql.org/docs/current/protocol-logical-replication.html>; the server
//! reads them in `parse_output_parameters` of `pgoutput.c`.

use std::fmt;

use crate::{
    pg::{Ident, ServerVersion},
    pgoutput::{Decoder, ProtoVersion, Streaming},
};

/// Which transactions are sent, by where they come from: the option `origin`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Origins {
    /// All of them.
    #[default]
    Any,
    /// Only those that began on the source: none that someone's replication replayed there.
    None,
}

impl Origins {
    /// The value as the option is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::None => "none",
        }
    }
}

/// What to ask of a stream. `Display` writes the list that START_REPLICATION takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamOptions {
    /// Which messages there can be.
    pub version: ProtoVersion,
    /// Whether large transactions come while they run.
    pub streaming: Streaming,
    /// Whether values may come in binary.
    pub binary: bool,
    /// Whether transactions come when they are prepared. It is the slot that decides: one made
    /// without it is turned into such a slot for good by the first stream that asks for it, and
    /// one made with it sends prepared transactions whether the stream asks or not.
    pub two_phase: bool,
    /// Which transactions are sent, by where they come from.
    pub origins: Origins,
    /// Whether what `pg_logical_emit_message` wrote is sent.
    pub messages: bool,
    /// The publications whose tables are sent.
    pub publications: Vec<Ident>,
}

impl StreamOptions {
    /// What every server knows: whole committed transactions of these publications, values as
    /// text, no messages.
    #[must_use]
    pub const fn plain(publications: Vec<Ident>) -> Self {
        Self {
            version: ProtoVersion::V1,
            streaming: Streaming::Off,
            binary: false,
            two_phase: false,
            origins: Origins::Any,
            messages: false,
            publications,
        }
    }

    /// The newest of everything that a server knows, values as text.
    #[must_use]
    pub fn newest_of(server: ServerVersion, publications: Vec<Ident>) -> Self {
        let version = ProtoVersion::newest_of(server);
        let streaming = match version {
            ProtoVersion::V1 => Streaming::Off,
            ProtoVersion::V2 | ProtoVersion::V3 => Streaming::On,
            ProtoVersion::V4 => Streaming::Parallel,
        };
        Self {
            version,
            streaming,
            two_phase: server.major() >= TWO_PHASE_SINCE,
            messages: true,
            ..Self::plain(publications)
        }
    }

    /// Whether a server knows all that is asked for.
    ///
    /// Errors: the first option that it would refuse.
    pub fn check(&self, server: ServerVersion) -> Result<(), OptionError> {
        let newest = ProtoVersion::newest_of(server);
        if self.version > newest {
            return Err(OptionError::Version { version: self.version, newest, server });
        }
        let (option, value) = ("streaming", self.streaming.as_str());
        self.needs(option, value, self.streaming.since())?;
        if self.two_phase {
            known(server, "two_phase", TWO_PHASE_SINCE)?;
            self.needs("two_phase", "true", ProtoVersion::V3)?;
        }
        if self.origins != Origins::Any {
            known(server, "origin", ORIGIN_SINCE)?;
        }
        if self.publications.is_empty() {
            return Err(OptionError::NoPublication);
        }
        Ok(())
    }

    fn needs(
        &self,
        option: &'static str,
        value: &'static str,
        needed: ProtoVersion,
    ) -> Result<(), OptionError> {
        if self.version < needed {
            return Err(OptionError::Needs { option, value, needed, version: self.version });
        }
        Ok(())
    }

    /// A decoder for a stream that is started with these options.
    #[must_use]
    pub const fn decoder(&self) -> Decoder {
        Decoder::new(self.version, self.streaming)
    }
}

/// The first release with `two_phase`, for slots and for streams.
const TWO_PHASE_SINCE: u32 = 15;
/// The first release with `origin`.
const ORIGIN_SINCE: u32 = 16;

fn known(server: ServerVersion, option: &'static str, since: u32) -> Result<(), OptionError> {
    if server.major() < since {
        return Err(OptionError::Unknown { option, server, since });
    }
    Ok(())
}

impl fmt::Display for StreamOptions {
    /// What is at its default is left out: older servers don't know the option's name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A list of SQL names inside a string: unquoted names would be folded to lower case.
        let names: Vec<_> = self.publications.iter().map(ToString::to_string).collect();
        let names = quoted(&names.join(","));
        write!(f, "(proto_version '{}', publication_names {names}", self.version)?;
        if self.messages {
            f.write_str(", messages 'true'")?;
        }
        write!(f, ", binary '{}'", self.binary)?;
        if self.streaming != Streaming::Off {
            write!(f, ", streaming '{}'", self.streaming.as_str())?;
        }
        if self.two_phase {
            f.write_str(", two_phase 'true'")?;
        }
        if self.origins != Origins::Any {
            write!(f, ", origin '{}'", self.origins.as_str())?;
        }
        f.write_str(")")
    }
}

/// A string of the replication grammar (`repl_scanner.l`), which differs from SQL's: a backslash
/// is a letter like any other, and there is no `E''`.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A stream that a server would not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// The server is too old for the protocol version.
    #[error("PostgreSQL {server} speaks pgoutput version {newest} at most, not {version}")]
    Version {
        /// The version asked for.
        version: ProtoVersion,
        /// The newest the server speaks.
        newest: ProtoVersion,
        /// The server.
        server: ServerVersion,
    },
    /// The server is too old for an option.
    #[error("PostgreSQL {server} has no option {option}: it came with {since}")]
    Unknown {
        /// The option.
        option: &'static str,
        /// The server.
        server: ServerVersion,
        /// The first major release with it.
        since: u32,
    },
    /// An option needs a later protocol version.
    #[error("{option} '{value}' needs pgoutput version {needed}, and {version} was asked for")]
    Needs {
        /// The option.
        option: &'static str,
        /// Its value.
        value: &'static str,
        /// The first version with it.
        needed: ProtoVersion,
        /// The version asked for.
        version: ProtoVersion,
    },
    /// There is nothing to send.
    #[error("no publication is given")]
    NoPublication,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(num: u32) -> ServerVersion {
        ServerVersion::from_num(num)
    }

    fn names(names: &[&str]) -> Vec<Ident> {
        names.iter().map(|name| Ident::new(*name)).collect()
    }

    fn plain() -> StreamOptions {
        StreamOptions::plain(names(&["p"]))
    }

    #[test]
    fn each_server_is_asked_for_the_newest_it_knows() {
        let p = r#"publication_names '"p"', messages 'true', binary 'false'"#;
        for (server, expected) in [
            (140_023, format!("(proto_version '2', {p}, streaming 'on')")),
            (150_018, format!("(proto_version '3', {p}, streaming 'on', two_phase 'true')")),
            (160_014, format!("(proto_version '4', {p}, streaming 'parallel', two_phase 'true')")),
            (170_010, format!("(proto_version '4', {p}, streaming 'parallel', two_phase 'true')")),
            (180_004, format!("(proto_version '4', {p}, streaming 'parallel', two_phase 'true')")),
        ] {
            let options = StreamOptions::newest_of(of(server), names(&["p"]));
            assert_eq!(options.to_string(), expected, "{server}");
            assert_eq!(options.check(of(server)), Ok(()), "{server}");
        }
    }

    #[test]
    fn what_is_asked_for_is_written_and_the_rest_left_out() {
        let text = |options: StreamOptions| options.to_string();
        let p = r#"publication_names '"p"'"#;
        assert_eq!(text(plain()), format!("(proto_version '1', {p}, binary 'false')"));
        assert_eq!(
            text(StreamOptions { binary: true, messages: true, ..plain() }),
            format!("(proto_version '1', {p}, messages 'true', binary 'true')")
        );
        assert_eq!(
            text(StreamOptions {
                version: ProtoVersion::V3,
                streaming: Streaming::On,
                origins: Origins::None,
                ..plain()
            }),
            format!("(proto_version '3', {p}, binary 'false', streaming 'on', origin 'none')")
        );
        assert_eq!(
            text(StreamOptions::plain(names(&["a", "B c", "d\"'\\,e"]))),
            r#"(proto_version '1', publication_names '"a","B c","d""''\,e"', binary 'false')"#
        );
    }

    fn check(server: u32, options: &StreamOptions, expected: OptionError) {
        assert_eq!(options.check(of(server)), Err(expected), "{server}: {options}");
    }

    #[test]
    fn what_a_server_does_not_know_is_refused_before_it_is_asked() {
        for (server, version, newest) in [
            (140_023, ProtoVersion::V3, ProtoVersion::V2),
            (140_023, ProtoVersion::V4, ProtoVersion::V2),
            (150_018, ProtoVersion::V4, ProtoVersion::V3),
        ] {
            let options = StreamOptions { version, ..plain() };
            check(server, &options, OptionError::Version { version, newest, server: of(server) });
        }
        let options = StreamOptions { version: ProtoVersion::V2, two_phase: true, ..plain() };
        let (option, server) = ("two_phase", of(140_023));
        check(140_023, &options, OptionError::Unknown { option, server, since: 15 });
        let options = StreamOptions { origins: Origins::None, ..plain() };
        for server in [140_023, 150_018] {
            let unknown = OptionError::Unknown { option: "origin", server: of(server), since: 16 };
            check(server, &options, unknown);
        }
        check(180_004, &StreamOptions::plain(vec![]), OptionError::NoPublication);
    }

    #[test]
    fn what_needs_a_later_version_is_refused() {
        use ProtoVersion::{V1, V2, V3, V4};
        for (streaming, version, needed) in
            [(Streaming::On, V1, V2), (Streaming::Parallel, V1, V4), (Streaming::Parallel, V3, V4)]
        {
            let value = streaming.as_str();
            let needs = OptionError::Needs { option: "streaming", value, needed, version };
            check(180_004, &StreamOptions { version, streaming, ..plain() }, needs);
        }
        let (option, value) = ("two_phase", "true");
        let needs = OptionError::Needs { option, value, needed: V3, version: V2 };
        check(180_004, &StreamOptions { version: V2, two_phase: true, ..plain() }, needs);
    }

    #[test]
    fn the_decoder_is_the_one_for_what_was_asked() {
        let mut decoder = plain().decoder();
        assert!(decoder.decode(b"S\0\0\0\x07\x01").is_err());
        let mut decoder = StreamOptions::newest_of(of(140_000), names(&["p"])).decoder();
        assert!(decoder.decode(b"S\0\0\0\x07\x01").is_ok());
    }
}
