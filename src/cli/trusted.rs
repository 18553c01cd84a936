//! The options that say whose code may run, for every command that runs any.

use crate::migrate::Trust;

/// Owners of tables and functions.
#[derive(Debug, Default, clap::Args)]
pub(super) struct Trusted {
    /// Let this owner's code run with all rights of a server; may be given several times
    ///
    /// Reading or writing a table runs its owner's expressions and functions with the rights of
    /// pghost's role. Where that is a superuser, or may run programs or read or write files on
    /// the server, only superusers' own tables and functions are taken otherwise.
    #[arg(long = "trust-owner", value_name = "ROLE", verbatim_doc_comment)]
    pub(super) trust_owners: Vec<String>,

    /// Let the code of whoever owns tables and functions run with all rights of a server
    #[arg(long)]
    trust_all_owners: bool,
}

impl From<Trusted> for Trust {
    fn from(trusted: Trusted) -> Self {
        Self { all: trusted.trust_all_owners, owners: trusted.trust_owners }
    }
}
