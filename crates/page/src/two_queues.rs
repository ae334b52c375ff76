//! The policy that knows what to give up: two FIFO queues of leaves, three bits a page.
//!
//! Key type: [`TwoQueues`]. It is `faultless_policy::replacement` on the cache's leaves: the bits
//! are words of the leaf, the queues are linked through the leaves, and the shadows lie in frames
//! ([`shadow_frames`](crate::shadow_frames)). What is decided here is how they are reached; what is
//! given up is decided there.
//!
//! # Locks
//! The books have one short lock, taken once for each run of pages that is put in or taken out, and
//! for each offer of victims; never for a use, which sets bits of the leaf. Page locks may be held.
//!
//! # Leaves on a queue
//! A leaf that has lost its pages, or has changed hands, stays on its queue until the hand comes to
//! it.
#![forbid(unsafe_code)]

use core::mem;
use core::sync::atomic::Ordering::Relaxed;

use faultless_policy::replacement::{
    self as policy, Identity, Leaves, Marks, Origin, Outcome, Queue, ShadowWords, Shadows,
};

use crate::replacement::{Answer, LeafWords, LeavesOf, Name, Offer, Ops};
use crate::shadow_frames::ShadowFrames;
use crate::{Initial, Replacement, SlotMask, SyncFamily, Word};

/// Leaves that the hand visits with the lock of the books held, before another thread may have it.
const VISITS: u32 = 16;

/// Keeps what will be used again, as far as the past tells: see `faultless_policy::replacement`.
///
/// Costs three bits a page and two links a leaf, 64 bytes a leaf in all, and 1.25 bytes for each
/// page of the [capacity](crate::PageCache::set_capacity). A use of a page costs nothing but a look
/// once it is known: see [`LockedRun::mark_used`](crate::LockedRun::mark_used).
#[derive(Clone, Copy, Debug)]
#[doc(alias = "lru")]
#[doc(alias = "S3-FIFO")]
pub struct TwoQueues(());

impl Replacement for TwoQueues {}

/// The words of a leaf: the marks of its pages, and its links in the two queues.
#[derive(Debug)]
pub struct Words<S: SyncFamily> {
    main: S::Word64,
    referenced: S::Word64,
    extra: S::Word64,
    /// For each queue: 0 off the queue; [`LAST`] at its tail; otherwise the next leaf.
    links: [S::Word64; 2],
}

/// The link of the leaf at the tail of a queue: no leaf has this address.
const LAST: u64 = 1;

impl<S: SyncFamily> LeafWords for Words<S> {
    fn fresh() -> Self {
        Self {
            main: Word::new(0),
            referenced: Word::new(0),
            extra: Word::new(0),
            links: [Word::new(0), Word::new(0)],
        }
    }
}

impl<S: SyncFamily> Words<S> {
    fn marks(&self) -> Marks {
        let [main, referenced, extra] =
            [&self.main, &self.referenced, &self.extra].map(|word| word.load(Relaxed));
        Marks { main, referenced, extra }
    }
}

/// What the cache keeps, under its short lock.
#[derive(Debug)]
pub struct Books {
    policy: policy::Replacement<Name>,
    ends: [Ends; 2],
    shadows: ShadowFrames,
    /// The embedder has not said how many pages there is room for.
    is_unlimited: bool,
}

impl Initial for Books {
    const INITIAL: Self = Self {
        policy: policy::Replacement::new(u64::MAX, Shadows::new(0)),
        ends: [Ends::EMPTY; 2],
        shadows: ShadowFrames::NONE,
        is_unlimited: true,
    };
}

/// The ends of a queue: names of leaves, 0 if it is empty.
#[derive(Clone, Copy, Debug)]
struct Ends {
    head: u64,
    tail: u64,
}

impl Ends {
    const EMPTY: Self = Self { head: 0, tail: 0 };
}

/// The leaves of a cache, with the lock of the books held.
struct View<'a, L> {
    leaves: &'a L,
    ends: &'a mut [Ends; 2],
    shadows: &'a mut ShadowFrames,
}

impl<L: LeavesOf<TwoQueues>> View<'_, L> {
    fn link(&self, queue: Queue, leaf: Name) -> &<L::Sync as SyncFamily>::Word64 {
        &self.leaves.words(leaf).links[queue as usize]
    }
}

impl<L: LeavesOf<TwoQueues>> Leaves for View<'_, L> {
    type Leaf = Name;

    fn present(&self, leaf: Name) -> u64 {
        self.leaves.present(leaf).bits()
    }

    fn marks(&self, leaf: Name) -> Marks {
        self.leaves.words(leaf).marks()
    }

    fn change(&mut self, leaf: Name, clear: Marks, set: Marks) {
        let words = self.leaves.words(leaf);
        change(&words.main, clear.main, set.main);
        change(&words.referenced, clear.referenced, set.referenced);
        change(&words.extra, clear.extra, set.extra);
    }

    fn is_queued(&self, queue: Queue, leaf: Name) -> bool {
        self.link(queue, leaf).load(Relaxed) != 0
    }

    fn push_back(&mut self, queue: Queue, leaf: Name) {
        self.link(queue, leaf).store(LAST, Relaxed);
        match mem::replace(&mut self.ends[queue as usize].tail, leaf.0) {
            0 => self.ends[queue as usize].head = leaf.0,
            tail => self.link(queue, Name(tail)).store(leaf.0, Relaxed),
        }
    }

    fn pop_front(&mut self, queue: Queue) -> Option<Name> {
        let leaf = match self.ends[queue as usize].head {
            0 => return None,
            head => Name(head),
        };
        match self.link(queue, leaf).swap(0, Relaxed) {
            LAST => self.ends[queue as usize] = Ends::EMPTY,
            next => self.ends[queue as usize].head = next,
        }
        Some(leaf)
    }
}

impl<L: LeavesOf<TwoQueues>> ShadowWords for View<'_, L> {
    fn word(&mut self, index: u32) -> Option<&mut u64> {
        self.shadows.word(self.leaves.frames(), index)
    }
}

/// Clears bits of a word and sets others.
fn change(word: &impl Word<u64>, clear: u64, set: u64) {
    let now = word.load(Relaxed);
    if now & clear != 0 {
        word.fetch_and(!clear, Relaxed);
    }
    if now & set != set {
        word.fetch_or(set, Relaxed);
    }
}

impl Books {
    /// The policy, and its view of the leaves.
    fn open<'a, L: LeavesOf<TwoQueues>>(
        &'a mut self,
        leaves: &'a L,
    ) -> (&'a mut policy::Replacement<Name>, View<'a, L>) {
        let Self { policy, ends, shadows, .. } = self;
        (policy, View { leaves, ends, shadows })
    }
}

impl Ops for TwoQueues {
    const KEEPS_BOOKS: bool = true;
    type Words<S: SyncFamily> = Words<S>;
    type Books = Books;

    #[inline(always)]
    fn used<S: SyncFamily>(words: &Words<S>, slots: SlotMask) {
        let marks = words.marks();
        if !marks.has_noticed(slots.bits()) {
            note(words, marks.hit(slots.bits()));
        }
    }

    fn inserted(
        books: &mut Books,
        leaves: &impl LeavesOf<Self>,
        leaf: Name,
        slots: SlotMask,
        first: Identity,
        origin: Origin,
    ) {
        let (policy, mut view) = books.open(leaves);
        policy.insert(&mut view, leaf, slots.bits(), first, origin);
    }

    fn removed(books: &mut Books, leaves: &impl LeavesOf<Self>, leaf: Name, slots: SlotMask) {
        let (policy, mut view) = books.open(leaves);
        policy.removed(&mut view, leaf, slots.bits());
    }

    fn victims(books: &mut Books, leaves: &impl LeavesOf<Self>, want: u32) -> Answer {
        if books.is_unlimited {
            // Memory is short, so there is room for what there is.
            books.policy.set_capacity(books.policy.pages());
        }
        let (policy, mut view) = books.open(leaves);
        match policy.victims(&mut view, want, VISITS) {
            policy::Offer::Victims(policy::Victims { leaf, slots }) => {
                Answer::Offer(Offer { leaf, slots: SlotMask::from_bits(slots) })
            }
            policy::Offer::Again => Answer::Again,
            policy::Offer::Nothing => Answer::Nothing,
        }
    }

    fn settle(
        books: &mut Books,
        leaves: &impl LeavesOf<Self>,
        offer: Offer,
        first: Identity,
        outcome: Outcome,
    ) {
        let victims = policy::Victims { leaf: offer.leaf, slots: offer.slots.bits() };
        let (policy, mut view) = books.open(leaves);
        policy.settle(&mut view, victims, first, outcome);
    }

    fn set_capacity(
        books: &mut Books,
        pages: u64,
        shadows: Shadows,
        table: ShadowFrames,
    ) -> ShadowFrames {
        books.is_unlimited = false;
        books.policy.set_shadows(shadows);
        books.policy.set_capacity(pages);
        mem::replace(&mut books.shadows, table)
    }

    fn take_table(books: &mut Books) -> ShadowFrames {
        mem::replace(&mut books.shadows, ShadowFrames::NONE)
    }

    fn pages(books: &Books) -> u64 {
        books.policy.pages()
    }

    fn bytes(books: &Books) -> usize {
        books.shadows.bytes()
    }

    fn forget_leaves(books: &mut Books) {
        books.policy.forget_leaves();
        books.ends = [Ends::EMPTY; 2];
    }
}

/// Sets the bits of a first or second use.
#[cold]
fn note<S: SyncFamily>(words: &Words<S>, hit: policy::Hit) {
    if hit.referenced != 0 {
        words.referenced.fetch_or(hit.referenced, Relaxed);
    }
    if hit.extra != 0 {
        words.extra.fetch_or(hit.extra, Relaxed);
    }
}
