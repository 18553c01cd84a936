//! What lists of the catalog come to, short enough for the ledger's lines.
//!
//! MD5, since ledgers that were begun with it are to be gone on with. It is made here and not by
//! the server: there `md5()` is an error under FIPS, and on some managed services.

use md5::{Digest as _, Md5};

/// How much of it tells a partition's columns.
const SHORT: usize = 8;

/// Of a list that grows.
#[derive(Clone, Debug, Default)]
pub(super) struct Digest {
    md5: Md5,
    begun: bool,
}

impl Digest {
    /// Adds an item; commas stand between them.
    pub(super) fn add(&mut self, item: &str) {
        if self.begun {
            self.md5.update(b",");
        }
        self.begun = true;
        self.md5.update(item);
    }

    /// Of all that was added.
    pub(super) fn so_far(&self) -> String {
        self.md5.clone().finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Of a list whose items have commas between them; of none at all where there is no list.
pub(super) fn of_list(list: Option<&str>) -> String {
    let mut digest = Digest::default();
    digest.add(list.unwrap_or_default());
    digest.so_far()
}

/// The beginning of it.
pub(super) fn short_of_list(list: Option<&str>) -> String {
    let mut digest = of_list(list);
    digest.truncate(SHORT);
    digest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_item_by_item_is_the_list() {
        let mut digest = Digest::default();
        digest.add("1 f 23 -1");
        digest.add("2 f 25 -1");
        // SELECT md5('1 f 23 -1,2 f 25 -1'), as ledgers of old have it.
        assert_eq!(digest.so_far(), "b0851a54a28a62bc3334984db3b51c12");
        assert_eq!(of_list(Some("1 f 23 -1,2 f 25 -1")), digest.so_far());
        assert_eq!(short_of_list(Some("1 f 23 -1,2 f 25 -1")), digest.so_far()[..8]);
    }
}
