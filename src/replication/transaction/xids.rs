//! A set of transaction ids that stays small where they lie close together, as those of one
//! transaction's subtransactions do. It knows nothing of their order, which wraps around.

use std::collections::HashMap;

use crate::pg::Xid;

/// Ids, 64 neighbours to a word.
#[derive(Debug, Default)]
pub(super) struct XidSet {
    words: HashMap<u32, u64>,
}

impl XidSet {
    pub(super) fn insert(&mut self, xid: Xid) {
        *self.words.entry(xid.0 / 64).or_default() |= 1 << (xid.0 % 64);
    }

    pub(super) fn contains(&self, xid: Xid) -> bool {
        !self.words.is_empty()
            && self.words.get(&(xid.0 / 64)).is_some_and(|word| word & 1 << (xid.0 % 64) != 0)
    }

    /// How many words it takes.
    pub(super) fn words(&self) -> usize {
        self.words.len()
    }

    /// Forgets all, and frees the memory.
    pub(super) fn clear(&mut self) {
        self.words = HashMap::new();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn neighbours_share_a_word() {
        let mut set = XidSet::default();
        (64..128).for_each(|xid| set.insert(Xid(xid)));
        assert_eq!(set.words(), 1);
        assert!(!set.contains(Xid(63)) && set.contains(Xid(127)) && !set.contains(Xid(128)));
        set.insert(Xid(u32::MAX));
        assert_eq!(set.words(), 2);
        set.clear();
        assert!(!set.contains(Xid(u32::MAX)));
    }

    proptest! {
        #[test]
        fn it_is_a_set(xids in prop::collection::vec(0_u32..300, 0..60)) {
            let mut set = XidSet::default();
            xids.iter().for_each(|&xid| set.insert(Xid(xid)));
            let plain: HashSet<u32> = xids.into_iter().collect();
            for xid in 0..300 {
                prop_assert_eq!(set.contains(Xid(xid)), plain.contains(&xid));
            }
        }
    }
}
