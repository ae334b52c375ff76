//! A cursor as a list of segments and three numbers: what [`IovIter`] must do.

#![forbid(unsafe_code)]

use faultless_usercopy::{IovIter, MAX_RW_COUNT, UserMemory, UserSlice};

/// A piece of user memory: address and length.
pub(super) type Piece = (usize, usize);

/// The model of a cursor.
#[derive(Debug)]
pub(super) struct Cursor {
    segments: Vec<Piece>,
    consumed: usize,
    count: usize,
    hidden: usize,
}

impl Cursor {
    /// At the begin of `slices`.
    pub(super) fn new(slices: &[UserSlice]) -> Self {
        let segments: Vec<Piece> =
            slices.iter().map(|slice| (slice.addr().get(), slice.len())).collect();
        let total: usize = segments.iter().map(|(_, len)| len).sum();
        Self { segments, consumed: 0, count: total.min(MAX_RW_COUNT), hidden: 0 }
    }

    /// Bytes that remain.
    pub(super) const fn count(&self) -> usize {
        self.count
    }

    pub(super) fn advance(&mut self, bytes: usize) {
        let bytes = bytes.min(self.count);
        self.consumed += bytes;
        self.count -= bytes;
    }

    pub(super) fn revert(&mut self, bytes: usize) {
        let bytes = bytes.min(self.consumed);
        self.consumed -= bytes;
        self.count += bytes;
    }

    pub(super) fn truncate(&mut self, count: usize) {
        let cut = self.count.saturating_sub(count);
        self.count -= cut;
        self.hidden += cut;
    }

    pub(super) fn reexpand(&mut self, count: usize) {
        let grow = count.saturating_sub(self.count).min(self.hidden);
        self.count += grow;
        self.hidden -= grow;
    }

    /// The next `len` bytes, or as many as remain, segment by segment; none of the pieces is empty.
    pub(super) fn pieces(&self, len: usize) -> Vec<Piece> {
        let (mut skip, mut left) = (self.consumed, len.min(self.count));
        let mut pieces = Vec::new();
        for &(start, len) in &self.segments {
            let skipped = skip.min(len);
            skip -= skipped;
            let now = (len - skipped).min(left);
            left -= now;
            if now > 0 {
                pieces.push((start + skipped, now));
            }
        }
        pieces
    }

    /// The real cursor stands here.
    #[track_caller]
    pub(super) fn check<U: UserMemory>(&self, iter: &IovIter<'_, U>) {
        assert_eq!(iter.count(), self.count, "bytes that the cursor says remain");
        assert_eq!(iter.is_empty(), self.count == 0, "whether the cursor is at its end");
        let segment = iter.segment();
        match self.pieces(usize::MAX).first() {
            None => assert!(segment.is_empty(), "the cursor has a segment at its end"),
            Some(&(start, len)) => {
                let real = (segment.addr().get(), segment.len());
                assert_eq!(real, (start, len), "the cursor's segment");
            }
        }
    }
}
