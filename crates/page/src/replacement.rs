//! The seam of what the cache gives up when memory is short.
//!
//! Key type: [`Replacement`], which is `()` or [`TwoQueues`](crate::TwoQueues). What is given up is
//! decided in `faultless-policy`. This module knows neither leaves nor kernels: module `books`
//! brings the two together.
#![forbid(unsafe_code)]

use core::fmt;

use faultless_policy::replacement::{Identity, Origin, Outcome, Shadows};

use crate::shadow_frames::ShadowFrames;
use crate::{Frames, Initial, SlotMask, SyncFamily};

/// Which pages a cache gives up when memory is short: [`Kernel::Replacement`].
///
/// `()` keeps no books: no word in a leaf, no instruction in a read or a write; pages leave by name
/// only ([`Removals`](crate::Removals)). [`TwoQueues`](crate::TwoQueues) knows which pages are
/// worth keeping. There are no others.
///
/// [`Kernel::Replacement`]: crate::Kernel::Replacement
pub trait Replacement: Ops {}

impl Replacement for () {}

/// The address of a leaf of the cache, as a number: not 0, and even.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name(pub(crate) u64);

/// Pages of a leaf that the policy would give up.
#[derive(Clone, Copy, Debug)]
pub struct Offer {
    pub(crate) leaf: Name,
    pub(crate) slots: SlotMask,
}

/// Words that a policy adds to each leaf.
pub trait LeafWords: Send + Sync {
    /// Of a leaf without pages.
    fn fresh() -> Self;
}

impl LeafWords for () {
    #[inline]
    fn fresh() -> Self {}
}

impl Initial for () {
    const INITIAL: Self = ();
}

/// The leaves of a cache, as a policy sees them.
pub trait LeavesOf<R: Ops> {
    /// The family of words.
    type Sync: SyncFamily;
    /// Memory.
    type Frames: Frames;

    /// Memory.
    fn frames(&self) -> &Self::Frames;
    /// The words of a leaf.
    fn words(&self, leaf: Name) -> &R::Words<Self::Sync>;
    /// Its slots with a page that is on the books.
    fn present(&self, leaf: Name) -> SlotMask;
}

/// What a policy does at each event in the life of a page, with the short lock of its books held.
pub trait Ops: Sized + Send + Sync + 'static {
    /// Whether any of this is called but [`used`](Self::used).
    const KEEPS_BOOKS: bool;
    /// Words of each leaf.
    type Words<S: SyncFamily>: LeafWords;
    /// What the cache has, under a short lock.
    type Books: Initial + Send + fmt::Debug;

    /// Pages are used. Writes nothing if that was known. Without the lock.
    fn used<S: SyncFamily>(words: &Self::Words<S>, slots: SlotMask);

    /// Pages were put into `slots`, which are locked. `first` names the page of slot 0.
    fn inserted(
        books: &mut Self::Books,
        leaves: &impl LeavesOf<Self>,
        leaf: Name,
        slots: SlotMask,
        first: Identity,
        origin: Origin,
    );

    /// Pages have left `slots`, which are locked or a dropped mapping's, other than as victims.
    fn removed(books: &mut Self::Books, leaves: &impl LeavesOf<Self>, leaf: Name, slots: SlotMask);

    /// The next pages to give up, at most `want`, in one leaf; or how the search stands. Each goes
    /// to [`settle`](Self::settle).
    fn victims(books: &mut Self::Books, leaves: &impl LeavesOf<Self>, want: u32) -> Answer;

    /// What became of offered pages. Those that left are locked.
    fn settle(
        books: &mut Self::Books,
        leaves: &impl LeavesOf<Self>,
        offer: Offer,
        first: Identity,
        outcome: Outcome,
    );

    /// There is room for so many pages. The old table of shadows.
    fn set_capacity(
        books: &mut Self::Books,
        pages: u64,
        shadows: Shadows,
        table: ShadowFrames,
    ) -> ShadowFrames;

    /// The table of shadows, for the end of the cache.
    fn take_table(books: &mut Self::Books) -> ShadowFrames;

    /// Pages on the books.
    fn pages(books: &Self::Books) -> u64;

    /// Bytes of memory that the books have taken from the frames.
    fn bytes(books: &Self::Books) -> usize;

    /// No mapping is left, and so no leaf.
    fn forget_leaves(books: &mut Self::Books);
}

/// The answer to a request for victims.
#[derive(Clone, Copy, Debug)]
pub enum Answer {
    /// These.
    Offer(Offer),
    /// The lock was held for long enough: ask again.
    Again,
    /// There is no page.
    Nothing,
}

impl Ops for () {
    const KEEPS_BOOKS: bool = false;
    type Words<S: SyncFamily> = ();
    type Books = ();

    #[inline(always)]
    fn used<S: SyncFamily>(_words: &(), _slots: SlotMask) {}

    fn inserted(
        _books: &mut (),
        _leaves: &impl LeavesOf<Self>,
        _leaf: Name,
        _slots: SlotMask,
        _first: Identity,
        _origin: Origin,
    ) {
    }

    fn removed(_books: &mut (), _leaves: &impl LeavesOf<Self>, _leaf: Name, _slots: SlotMask) {}

    fn victims(_books: &mut (), _leaves: &impl LeavesOf<Self>, _want: u32) -> Answer {
        Answer::Nothing
    }

    fn settle(
        _books: &mut (),
        _leaves: &impl LeavesOf<Self>,
        _offer: Offer,
        _first: Identity,
        _outcome: Outcome,
    ) {
    }

    fn set_capacity(
        _books: &mut (),
        _pages: u64,
        _shadows: Shadows,
        table: ShadowFrames,
    ) -> ShadowFrames {
        table
    }

    fn take_table(_books: &mut ()) -> ShadowFrames {
        ShadowFrames::NONE
    }

    fn pages(_books: &()) -> u64 {
        0
    }

    fn bytes(_books: &()) -> usize {
        0
    }

    fn forget_leaves(_books: &mut ()) {}
}
