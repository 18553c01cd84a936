//! The one table of messages: tag, name, and the version that brought each.

use std::fmt;

use super::ProtoVersion;

macro_rules! kinds {
    ($($kind:ident $tag:literal $since:ident $name:literal,)*) => {
        /// Which message it is (`LogicalRepMsgType` in `logicalproto.h`).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum MessageKind {
            $(#[doc = concat!($name, ".")] $kind,)*
        }

        impl MessageKind {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$kind,)*];

            /// The message with this tag, if there is one.
            #[must_use]
            pub const fn from_tag(tag: u8) -> Option<Self> {
                match tag {
                    $($tag => Some(Self::$kind),)*
                    _ => None,
                }
            }

            /// Its first byte.
            #[must_use]
            pub const fn tag(self) -> u8 {
                match self {
                    $(Self::$kind => $tag,)*
                }
            }

            /// Its name in the documentation.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)*
                }
            }

            /// The first protocol version that has it.
            #[must_use]
            pub const fn since(self) -> ProtoVersion {
                match self {
                    $(Self::$kind => ProtoVersion::$since,)*
                }
            }
        }
    };
}

kinds! {
    Begin b'B' V1 "Begin",
    Commit b'C' V1 "Commit",
    Origin b'O' V1 "Origin",
    Relation b'R' V1 "Relation",
    Type b'Y' V1 "Type",
    Insert b'I' V1 "Insert",
    Update b'U' V1 "Update",
    Delete b'D' V1 "Delete",
    Truncate b'T' V1 "Truncate",
    Logical b'M' V1 "Message",
    StreamStart b'S' V2 "Stream Start",
    StreamStop b'E' V2 "Stream Stop",
    StreamCommit b'c' V2 "Stream Commit",
    StreamAbort b'A' V2 "Stream Abort",
    BeginPrepare b'b' V3 "Begin Prepare",
    Prepare b'P' V3 "Prepare",
    CommitPrepared b'K' V3 "Commit Prepared",
    RollbackPrepared b'r' V3 "Rollback Prepared",
    StreamPrepare b'p' V3 "Stream Prepare",
}

impl fmt::Display for MessageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tag_leads_back_to_its_message() {
        for &kind in MessageKind::ALL {
            assert_eq!(MessageKind::from_tag(kind.tag()), Some(kind));
        }
        let known = (0..=u8::MAX).filter_map(MessageKind::from_tag).count();
        assert_eq!(known, MessageKind::ALL.len());
        assert_eq!(known, 19);
    }
}
