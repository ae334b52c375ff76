//! The state of the policy and its operations.
#![forbid(unsafe_code)]

use super::hand::{Hand, Offer, Outcome, Victims, lowest};
use super::leaves::{Leaves, Queue};
use super::marks::Marks;
use super::shadows::{Identity, ShadowWords, Shadows};
use super::share::Share;

/// A page is back soon if it was dropped within as many ticks as the cache has pages, and one in so
/// many more.
const LONGER_PART: u64 = 5;
/// Leaves of young pages that the small hand visits in vain before the main hand takes its turn.
const SMALL_PATIENCE: u32 = 32;
/// Leaves that the main hand visits in vain before it takes pages that were used once.
const MAIN_PATIENCE: u32 = 24;
/// The same while the small queue is as short as it can be, because the main queue is hot.
const HOT_PATIENCE: u32 = 4;
/// Leaves that it visits in vain after that before it takes any page.
const LAST_PATIENCE: u32 = 7;
/// A cache that falls below one page in so many of its capacity is filled anew.
const REFILL_PART: u64 = 2;

/// Why pages are put into the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// They are used now.
    Demand,
    /// They are read ahead of their use, which may never come.
    Readahead,
}

/// The state: counts, two hands, the clock. `L` is [`Leaves::Leaf`].
///
/// Each operation is O(1) for each leaf visited and each page named, and needs the reclaimer's
/// lock; see [`replacement`](super). The hands visit two or three leaves for each page dropped if
/// every page has a leaf of its own, fewer if leaves are dense, and at most 64 leaves with pages
/// between two victims, besides one for each page that becomes main.
#[derive(Clone, Debug)]
pub struct Replacement<L> {
    capacity: u64,
    // Signed: a count is short by the pages that a hand has promoted before `insert` counts them.
    small: i64,
    main: i64,
    filling: bool,
    small_hand: Hand<L>,
    main_hand: Hand<L>,
    share: Share,
    shadows: Shadows,
    visits: u64,
    unused: u64,
}

impl<L: Copy> Replacement<L> {
    /// An empty cache that may hold `capacity` pages.
    #[must_use]
    pub const fn new(capacity: u64, shadows: Shadows) -> Self {
        Self {
            capacity,
            small: 0,
            main: 0,
            filling: true,
            small_hand: Hand::new(),
            main_hand: Hand::new(),
            share: Share::new(capacity),
            shadows,
            visits: 0,
            unused: 0,
        }
    }

    /// Pages that were inserted and not removed or dropped.
    #[must_use]
    pub const fn pages(&self) -> u64 {
        let pages = self.small + self.main;
        if pages > 0 { pages as u64 } else { 0 }
    }

    /// Pages that the cache may hold. The caller asks for victims when there are more, or earlier.
    #[must_use]
    pub const fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Leaves visited by the hands so far.
    #[must_use]
    pub const fn visits(&self) -> u64 {
        self.visits
    }

    /// Pages that were read ahead and dropped before a first use, so far. Pages that were main at
    /// once are not among them.
    #[must_use]
    pub const fn dropped_unused(&self) -> u64 {
        self.unused
    }

    /// Allows more or fewer pages from now on. Drops nothing itself. The table of shadows keeps its
    /// size: see [`set_shadows`](Self::set_shadows).
    pub fn set_capacity(&mut self, capacity: u64) {
        self.capacity = capacity;
        self.refill();
    }

    /// Has another table of shadows from now on, whose words are all 0.
    pub fn set_shadows(&mut self, shadows: Shadows) {
        self.shadows = shadows;
    }

    /// Forgets all leaves: the caller has emptied the queues, and names no leaf again that it has
    /// named before. The shadows stay.
    pub fn forget_leaves(&mut self) {
        self.small = 0;
        self.main = 0;
        self.small_hand = Hand::new();
        self.main_hand = Hand::new();
        self.refill();
    }

    /// Counts pages that were put into `slots` of a leaf. `first` names the page of slot 0. The
    /// caller holds the locks of the slots; their present bits are set.
    pub fn insert(
        &mut self,
        cache: &mut (impl Leaves<Leaf = L> + ShadowWords),
        leaf: L,
        slots: u64,
        first: Identity,
        origin: Origin,
    ) {
        // A hint set late may have let the hand promote a page that was not counted yet.
        let early = i64::from((cache.marks(leaf).main & slots).count_ones());
        self.main -= early;
        self.small += early;
        let main = self.proven(cache, slots, first);
        let small = slots & !main;
        let used = if origin == Origin::Demand { small } else { 0 };
        let spared = self.spare(cache, leaf, main);
        cache.change(
            leaf,
            Marks { main: small, referenced: slots & !(used | spared), extra: main },
            Marks { main, referenced: used | spared, extra: small },
        );
        self.main += i64::from(main.count_ones());
        self.small += i64::from(small.count_ones());
        enqueue(cache, Queue::Small, leaf, small);
        enqueue(cache, Queue::Main, leaf, main);
        self.filling &= self.pages() < self.capacity;
    }

    /// Forgets pages that left by themselves, say by truncation. The caller holds the locks of the
    /// slots. They leave no shadow.
    ///
    /// A cache that is left with less than half of its capacity counts as being filled for the
    /// first time again: what remains says little about what comes, and small pages alone would
    /// fill the rest.
    pub fn removed(&mut self, cache: &mut impl Leaves<Leaf = L>, leaf: L, slots: u64) {
        self.forget(cache, leaf, slots);
        self.refill();
    }

    /// The next pages to try to drop: at most `want` of one leaf, at least one. Visits at most
    /// `budget` leaves. Needs no slot locks.
    ///
    /// Each of them must go back to [`settle`](Self::settle), dropped or not.
    pub fn victims(
        &mut self,
        cache: &mut impl Leaves<Leaf = L>,
        want: u32,
        budget: u32,
    ) -> Offer<L> {
        self.filling = false;
        let mut budget = budget;
        let mut empty = 0;
        while empty < 2 {
            let queue = self.turn(empty);
            if let Some(victims) = self.pending(cache, queue, want.max(1)) {
                return Offer::Victims(victims);
            }
            if budget == 0 {
                return Offer::Again;
            }
            let Some(leaf) = cache.pop_front(queue) else {
                empty += 1;
                continue;
            };
            budget -= 1;
            self.visits += 1;
            match queue {
                Queue::Small => self.visit_small(cache, leaf),
                Queue::Main => self.visit_main(cache, leaf),
            }
        }
        Offer::Nothing
    }

    /// Says what became of `victims`. The caller holds the locks of the slots that were dropped;
    /// their present bits may be set or not. `first` names the page of slot 0.
    ///
    /// A page that was found referenced is treated as if the hand had seen the reference. Another
    /// page that stays (locked, dirty, under writeback, pinned) goes to the tail of its queue
    /// without a mark, and is offered again at the next pass if no hit comes first. Slots that were
    /// emptied otherwise meanwhile are left out.
    pub fn settle(
        &mut self,
        cache: &mut (impl Leaves<Leaf = L> + ShadowWords),
        victims: Victims<L>,
        first: Identity,
        outcome: Outcome,
    ) {
        let leaf = victims.leaf;
        let marks = cache.marks(leaf);
        let dropped = victims.slots & outcome.dropped;
        let small = dropped & !marks.main;
        let unused = small & marks.extra & !marks.referenced;
        self.shadows.record(cache, small & !unused, first);
        self.unused += u64::from(unused.count_ones());
        self.share.dropped((small & !unused).count_ones(), self.capacity);
        self.forget(cache, leaf, dropped);
        // Pages that cannot be dropped do not reset this: the main queue helps out.
        if dropped != 0 {
            self.small_hand.fruitless = 0;
        }
        let kept = victims.slots & !dropped & cache.present(leaf);
        self.count_kept(dropped, kept & !outcome.referenced, marks);
        self.shadows.tick(u64::from(dropped.count_ones()));
        self.keep(cache, leaf, kept, outcome.referenced);
        self.shadows.sweep(cache, self.window());
    }
}

/// Parts of the operations.
impl<L: Copy> Replacement<L> {
    fn small_share(&self) -> i64 {
        i64::try_from(self.share.pages(self.capacity)).unwrap_or(i64::MAX)
    }

    /// A page that returns within so many ticks is back soon.
    fn window(&self) -> u64 {
        self.capacity.saturating_add(self.capacity / LONGER_PART)
    }

    /// Starts another first fill if the cache is less than half full.
    fn refill(&mut self) {
        self.filling |= self.pages() < self.capacity / REFILL_PART;
    }

    /// The queue to visit, after `empty` queues were found empty.
    fn turn(&self, empty: u32) -> Queue {
        let tired = self.small_hand.fruitless >= SMALL_PATIENCE && self.main > 0;
        let usual = self.small >= self.small_share() && !tired || self.main <= 0;
        let small = match self.offered_all() {
            [true, false] => false,
            [false, true] => true,
            _ => usual,
        };
        if small == (empty == 0) { Queue::Small } else { Queue::Main }
    }

    /// Whether as many pages as a queue has were offered in vain, for each queue.
    fn offered_all(&self) -> [bool; 2] {
        [self.small_hand.kept >= self.small, self.main_hand.kept >= self.main]
    }

    /// Counts what an offer has come to. If the pages of a queue all stay, the other one has its
    /// turn; if those of both do, they are offered in the usual order again.
    fn count_kept(&mut self, dropped: u64, kept: u64, marks: Marks) {
        self.small_hand.kept += i64::from((kept & !marks.main).count_ones());
        self.main_hand.kept += i64::from((kept & marks.main).count_ones());
        if dropped != 0 || self.offered_all() == [true, true] {
            self.small_hand.kept = 0;
            self.main_hand.kept = 0;
        }
    }

    /// Which pages are main at once: those that are back soon, and the surplus of a first fill.
    fn proven(&self, table: &mut impl ShadowWords, slots: u64, first: Identity) -> u64 {
        let mut main = self.shadows.take(table, slots, first);
        if self.filling {
            let room = (self.small_share() - self.small).max(0);
            main |= slots & !main & !lowest(slots & !main, u32::try_from(room).unwrap_or(64));
        }
        main
    }

    /// Which pages that become main start as referenced. If the leaf is queued already, its place
    /// is older than the page, which therefore passes the hand once for free.
    fn spare(&self, cache: &impl Leaves<Leaf = L>, leaf: L, slots: u64) -> u64 {
        if cache.is_queued(Queue::Main, leaf) { slots } else { 0 }
    }

    fn promote(&mut self, cache: &mut impl Leaves<Leaf = L>, leaf: L, slots: u64) {
        if slots == 0 {
            return;
        }
        let spared = self.spare(cache, leaf, slots);
        let clear = Marks { main: 0, referenced: slots & !spared, extra: slots };
        cache.change(leaf, clear, Marks { main: slots, referenced: spared, extra: 0 });
        self.small -= i64::from(slots.count_ones());
        self.main += i64::from(slots.count_ones());
        enqueue(cache, Queue::Main, leaf, slots);
    }

    /// Takes pages out of the counts, and their marks out of the leaf.
    fn forget(&mut self, cache: &mut impl Leaves<Leaf = L>, leaf: L, slots: u64) {
        let main = cache.marks(leaf).main & slots;
        self.main -= i64::from(main.count_ones());
        self.small -= i64::from((slots & !main).count_ones());
        cache.change(leaf, Marks::all(slots), Marks::default());
    }

    /// Victims among the pending slots of a hand. Pages that were used since the visit are spared,
    /// as long as there is patience.
    fn pending(
        &mut self,
        cache: &mut impl Leaves<Leaf = L>,
        queue: Queue,
        want: u32,
    ) -> Option<Victims<L>> {
        let (leaf, pending) = self.hand(queue).pending()?;
        let marks = cache.marks(leaf);
        let mine = match queue {
            Queue::Small => !marks.main,
            Queue::Main => marks.main,
        };
        let pages = pending & cache.present(leaf) & mine;
        let used = if self.spares_used(queue) { pages & marks.referenced } else { 0 };
        if used != 0 {
            self.spare_used(cache, leaf, used, marks);
        }
        let slots = lowest(pages & !used, want);
        self.hand(queue).keep_pending(pages & !used & !slots);
        if slots == 0 {
            return None;
        }
        self.main_hand.fruitless = 0;
        if queue == Queue::Main {
            self.small_hand.fruitless = 0;
        }
        Some(Victims { leaf, slots })
    }

    /// Whether a use since the visit spares a pending page. At the end of its patience the main
    /// hand takes any page, or hits that are faster than the hand would keep it from a victim for
    /// ever.
    fn spares_used(&self, queue: Queue) -> bool {
        queue == Queue::Small || self.main_hand.fruitless <= self.main_patience() + LAST_PATIENCE
    }

    /// Takes pages back that were used while they were pending.
    fn spare_used(&mut self, cache: &mut impl Leaves<Leaf = L>, leaf: L, used: u64, marks: Marks) {
        let main = used & marks.main;
        let first_use = used & !marks.main & marks.extra;
        let clear = Marks { main: 0, referenced: first_use | main, extra: first_use | main };
        cache.change(leaf, clear, Marks::default());
        self.shadows.tick(u64::from(main.count_ones()));
        let proven = used & !marks.main & !marks.extra;
        self.share.promoted(proven.count_ones(), self.capacity);
        self.promote(cache, leaf, proven);
        enqueue(cache, Queue::Small, leaf, first_use);
        enqueue(cache, Queue::Main, leaf, main);
    }

    /// Puts pages that were offered and stay back on the books.
    fn keep(&mut self, cache: &mut impl Leaves<Leaf = L>, leaf: L, slots: u64, referenced: u64) {
        let marks = cache.marks(leaf);
        self.spare_used(cache, leaf, slots & referenced, marks);
        let rest = slots & !referenced;
        enqueue(cache, Queue::Small, leaf, rest & !marks.main);
        enqueue(cache, Queue::Main, leaf, rest & marks.main);
    }

    /// Meets the small pages of a leaf: young ones that were used get old, old ones that were used
    /// become main, and the rest are pending.
    fn visit_small(&mut self, cache: &mut impl Leaves<Leaf = L>, leaf: L) {
        let pages = cache.present(leaf) & !cache.marks(leaf).main;
        if pages == 0 {
            return;
        }
        let accessed = cache.take_accessed(leaf, pages);
        let marks = cache.marks(leaf);
        let used = pages & (marks.referenced | accessed);
        let met = used & marks.extra;
        let proven = used & !marks.extra;
        cache.change(leaf, Marks { main: 0, referenced: met, extra: met }, Marks::default());
        self.small_hand.stand_on(leaf, pages & !used);
        self.small_hand.tried_in_vain(u32::from(proven == 0));
        // The main queue is about to lose a page out of turn. Give it one, or it would shrink.
        let tired = proven == 0 && self.small_hand.fruitless == SMALL_PATIENCE;
        let swapped = if tired { lowest(met, 1) } else { 0 };
        self.share.promoted(proven.count_ones(), self.capacity);
        self.promote(cache, leaf, proven | swapped);
        enqueue(cache, Queue::Small, leaf, met & !swapped);
    }

    /// Takes one reference from each main page of a leaf; those without are pending. The longer
    /// the search, the less a reference protects.
    fn visit_main(&mut self, cache: &mut impl Leaves<Leaf = L>, leaf: L) {
        let pages = cache.present(leaf) & cache.marks(leaf).main;
        if pages == 0 {
            return;
        }
        let accessed = cache.take_accessed(leaf, pages);
        let marks = cache.marks(leaf);
        let used = pages & (marks.referenced | accessed);
        let again = used & marks.extra;
        let tried = self.main_hand.fruitless;
        let patience = self.main_patience();
        let spared = if tried < patience {
            used
        } else if tried < patience + LAST_PATIENCE {
            again
        } else {
            0
        };
        let victims = pages & !spared;
        self.shadows.tick(u64::from(spared.count_ones()));
        self.share.looked(spared.count_ones(), victims.count_ones(), self.capacity);
        // A page that was used twice keeps one reference.
        let clear = Marks { main: 0, referenced: pages & !(again & spared), extra: pages };
        cache.change(leaf, clear, Marks::default());
        self.main_hand.stand_on(leaf, victims);
        self.main_hand.tried_in_vain(1);
        enqueue(cache, Queue::Main, leaf, spared);
    }

    fn main_patience(&self) -> u32 {
        if self.share.is_least(self.capacity) { HOT_PATIENCE } else { MAIN_PATIENCE }
    }

    fn hand(&mut self, queue: Queue) -> &mut Hand<L> {
        match queue {
            Queue::Small => &mut self.small_hand,
            Queue::Main => &mut self.main_hand,
        }
    }
}

/// Puts the leaf on a queue for the sake of `slots`, unless it is there.
fn enqueue<C: Leaves>(cache: &mut C, queue: Queue, leaf: C::Leaf, slots: u64) {
    if slots != 0 && !cache.is_queued(queue, leaf) {
        cache.push_back(queue, leaf);
    }
}
