//! Which dialect of pgoutput was asked for.

use std::fmt;

use crate::pg::ServerVersion;

/// The option `proto_version` of START_REPLICATION.
///
/// <https://www.postgresql.org/docs/current/protocol-logical-replication.html>
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProtoVersion {
    /// Whole committed transactions.
    V1,
    /// Since 14: transactions may be streamed while they run.
    V2,
    /// Since 15: transactions may be sent when they are prepared.
    V3,
    /// Since 16: streamed transactions may be applied in parallel.
    V4,
}

impl ProtoVersion {
    /// The newest version that a server speaks.
    #[must_use]
    pub const fn newest_of(server: ServerVersion) -> Self {
        match server.major() {
            ..14 => Self::V1,
            14 => Self::V2,
            15 => Self::V3,
            16.. => Self::V4,
        }
    }

    /// The number as the option is written.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::V1 => 1,
            Self::V2 => 2,
            Self::V3 => 3,
            Self::V4 => 4,
        }
    }
}

impl fmt::Display for ProtoVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.number().fmt(f)
    }
}

/// The option `streaming` of START_REPLICATION.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Streaming {
    /// Transactions come whole, when they commit.
    #[default]
    Off,
    /// Large transactions come in blocks while they run; version 2.
    On,
    /// The same, and Stream Abort tells when the abort was; version 4.
    Parallel,
}

impl Streaming {
    /// The value as the option is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::On => "on",
            Self::Parallel => "parallel",
        }
    }

    /// The first protocol version that has it.
    #[must_use]
    pub const fn since(self) -> ProtoVersion {
        match self {
            Self::Off => ProtoVersion::V1,
            Self::On => ProtoVersion::V2,
            Self::Parallel => ProtoVersion::V4,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_release_speaks_the_version_it_came_with() {
        for (server, number) in [(140_000, 2), (150_018, 3), (160_014, 4), (180_004, 4)] {
            let version = ProtoVersion::newest_of(ServerVersion::from_num(server));
            assert_eq!(version.number(), number, "{server}");
        }
    }
}
