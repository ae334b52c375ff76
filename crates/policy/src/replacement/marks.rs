//! The three bits of a page, as words of a leaf.
#![forbid(unsafe_code)]

/// A snapshot of the marks of a leaf, one bit a slot in each word. Also a set of bits to set or to
/// clear. What the combinations mean is in [`replacement`](super).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// The page belongs to the main queue; otherwise to the small one.
    pub main: u64,
    /// The page was used.
    pub referenced: u64,
    /// Small: the hand has not met the page yet. Main: the page was used again.
    pub extra: u64,
}

/// The bits that a hit sets. Both are empty if the hit writes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hit {
    /// Bits to set in [`Marks::referenced`].
    pub referenced: u64,
    /// Bits to set in [`Marks::extra`].
    pub extra: u64,
}

impl Marks {
    /// What a use of the pages in `slots` sets. Only unset bits, so that a page in steady use costs
    /// no store: none once `referenced` is set on a small page, or both are on a main page.
    ///
    /// Pure; the snapshot may be stale.
    #[inline]
    #[must_use]
    pub const fn hit(self, slots: u64) -> Hit {
        let again = self.referenced & slots;
        Hit { referenced: slots & !again, extra: again & self.main & !self.extra }
    }

    /// Whether [`hit`](Self::hit) has nothing to set: the common case, in as few steps as it takes.
    #[inline(always)]
    #[must_use]
    pub const fn has_noticed(self, slots: u64) -> bool {
        let noticed = self.referenced & (self.extra | !self.main);
        noticed & slots == slots
    }

    /// The same bits in all three words.
    pub(super) const fn all(slots: u64) -> Self {
        Self { main: slots, referenced: slots, extra: slots }
    }
}

impl Hit {
    /// Whether there is nothing to set.
    #[inline]
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.referenced | self.extra == 0
    }
}
