//! The memory that open transactions share: segments of one size, made when first needed and used
//! again. What is in them is the spools' business.

/// The size of a segment. Large enough that writing one to a file is not a call for little, and
/// small enough that every transaction of [`Limits::open`](super::Limits::open) can have a few.
const SEGMENT: usize = 64 << 10;

/// Segments that are free, and how many there may be.
#[derive(Debug)]
pub(super) struct Pool {
    free: Vec<Vec<u8>>,
    made: usize,
    most: usize,
    size: usize,
}

impl Pool {
    /// A pool of at most so many bytes.
    pub(super) fn new(memory: usize) -> Self {
        let size = SEGMENT.min(memory / 4);
        let most = memory.checked_div(size).unwrap_or(0);
        Self { free: Vec::new(), made: 0, most, size }
    }

    /// How much a segment holds; 0 if there are none.
    pub(super) const fn size(&self) -> usize {
        self.size
    }

    /// How much memory is in use or ready to be used.
    pub(super) const fn bytes(&self) -> usize {
        self.made * self.size
    }

    /// An empty segment, unless all are in use.
    pub(super) fn take(&mut self) -> Option<Vec<u8>> {
        if let Some(segment) = self.free.pop() {
            return Some(segment);
        }
        (self.made < self.most).then(|| {
            self.made += 1;
            Vec::with_capacity(self.size)
        })
    }

    /// Takes a segment back.
    pub(super) fn give_back(&mut self, mut segment: Vec<u8>) {
        segment.clear();
        self.free.push(segment);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_segments_as_fit_and_they_are_used_again() {
        for (memory, size, most) in
            [(0, 0, 0), (3, 0, 0), (4, 1, 4), (1000, 250, 4), (1 << 20, SEGMENT, 16)]
        {
            let mut pool = Pool::new(memory);
            let mut taken: Vec<_> = std::iter::from_fn(|| pool.take()).collect();
            assert_eq!((pool.size(), taken.len()), (size, most), "{memory}");
            assert!(pool.bytes() <= memory);
            if let Some(segment) = taken.pop() {
                pool.give_back(segment);
                assert!(pool.take().is_some() && pool.take().is_none());
                assert_eq!(pool.bytes(), size * most);
            }
        }
    }
}
