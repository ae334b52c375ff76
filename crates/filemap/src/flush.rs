//! Flushing: dirty pages go to the store before a sync asks for them, in bounded steps that wait
//! for no page.
//!
//! Neighbours: [`writeback`](crate::writeback) claims and sends pages, and promises; a flush
//! promises nothing. [`flusher`](crate::flusher) chooses files, `dirty_age` says since when each is
//! dirty.
#![forbid(unsafe_code)]

use faultless_page::{Kernel, Mark, PageIndex, PageRun};

use crate::dirty_age::Turn;
use crate::inode::Inode;
use crate::pos::FilePos;
use crate::task::Task;
use crate::token::PageLocks;
use crate::writeback::{Claim, pages};

/// What a step of flushing did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Flushed {
    /// Pages that were handed to the store. Their writebacks may be under way.
    pub pages: u32,
    /// Whether there is more to do.
    pub left: Left,
}

/// Whether a step of flushing has left something that it was to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// Nothing; pages may still be under writeback.
    Nothing,
    /// Dirty pages: the budget was spent, or they were locked, under writeback, or have become
    /// dirty meanwhile. A step that sent nothing is not to be repeated at once.
    Dirty,
}

/// How a walk over pages ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Walk {
    /// No page is left.
    AtEnd,
    /// The budget is spent.
    Spent,
}

impl<K: Kernel> Inode<K> {
    /// Hands up to `budget_pages` dirty pages to the store, and does not wait for their writebacks.
    /// It goes on where the last step of this file ended, in ascending order, and passes over each
    /// page once at most: it ends however fast other tasks dirty pages (F4). Pages that are locked
    /// or under writeback are left out. A request covers consecutive pages of one leaf; those of
    /// adjacent leaves follow each other directly, for the store to merge.
    ///
    /// A failed writeback leaves its pages dirty and is in the inode's sequence of failures, so
    /// that the next sync reports it (F2). Two calls at the same time do the work of one.
    ///
    /// May sleep where the store does, for room in its queue; waits for no page lock and no range.
    /// No page lock is held; I need not be. Not to be called from a call of the file's own store.
    #[doc(alias = "do_writepages")]
    #[doc(alias = "WB_SYNC_NONE")]
    pub fn flush<T: Task>(
        &self,
        token: &mut impl PageLocks,
        budget_pages: u32,
        task: &T,
    ) -> Flushed {
        if self.is_swapped() {
            return Flushed { pages: 0, left: Left::Nothing };
        }
        let (_, end) = pages(&(0..self.size()));
        let mut budget = budget_pages;
        if let Some(mut turn) = self.dirty_age.take_turn() {
            let first = turn.at;
            if first == PageIndex::ZERO {
                turn.begin_round(task.now());
            }
            if self.flush_up_to(token, &mut turn, end, &mut budget, task) == Walk::AtEnd {
                self.end_round(&mut turn);
                if first > PageIndex::ZERO {
                    turn.begin_round(task.now());
                    self.flush_up_to(token, &mut turn, first.min(end), &mut budget, task);
                }
            }
        }
        let dirty = self.mapping().find(PageIndex::ZERO, end, Mark::Dirty);
        let left = if dirty.is_some() { Left::Dirty } else { Left::Nothing };
        Flushed { pages: budget_pages - budget, left }
    }

    /// The time, on the clock of [`Task::now`], since when the file has had dirty pages: not later
    /// than the moment at which the first of them became dirty, and earlier if a sync has cleaned
    /// the file meanwhile. `None`: no page is dirty, or under a writeback that may fail. A clock
    /// that says 0 is taken for 1. Does not sleep.
    #[must_use]
    #[doc(alias = "dirtied_when")]
    pub fn dirty_since(&self) -> Option<u64> {
        self.dirty_age.since()
    }

    /// Sends dirty pages from the turn's page on, up to `end`. The turn moves on with them.
    fn flush_up_to<T: Task>(
        &self,
        token: &mut impl PageLocks,
        turn: &mut Turn<'_, K>,
        end: PageIndex,
        budget: &mut u32,
        task: &T,
    ) -> Walk {
        while let Some(run) = self.mapping().find(turn.at, end, Mark::Dirty) {
            turn.at = run.first();
            if *budget == 0 {
                return Walk::Spent;
            }
            let most = PageRun::new(run.first(), u64::from(run.pages().min(*budget)));
            // The store learns of the size before it gets the data (F3).
            self.tell_size_if_new();
            let (next, sent) = self.flush_first(token, most, task);
            turn.at = next;
            *budget -= sent;
        }
        turn.at = turn.at.max(end);
        Walk::AtEnd
    }

    /// Sends the first pages of `run` that are free and dirty; the first page that is left, and how
    /// many were sent.
    fn flush_first<T: Task>(
        &self,
        token: &mut impl PageLocks,
        run: PageRun,
        task: &T,
    ) -> (PageIndex, u32) {
        let Some(locked) = self.mapping().try_lock_free(token.page_locks(), run) else {
            return (run.end(), 0);
        };
        match Claim::of(&locked) {
            Claim::Nothing => (locked.run().end(), 0),
            Claim::UnderWay(page) => (page.plus(1), 0),
            Claim::Send(stretch) => (stretch.end(), self.claim_and_send(locked, stretch, task)),
        }
    }

    /// Hands the dirty pages of `run` to the store that can be had at once, and does not wait for
    /// their writebacks; how many. For reclaim, which has found some of them.
    pub(crate) fn flush_run<T: Task>(
        &self,
        token: &mut impl PageLocks,
        run: PageRun,
        task: &T,
    ) -> u32 {
        let (mut at, mut sent) = (run.first(), 0);
        while let Some(dirty) = self.mapping().find(at, run.end(), Mark::Dirty) {
            // The store learns of the size before it gets the data (F3).
            self.tell_size_if_new();
            let (next, pages) = self.flush_first(token, dirty, task);
            at = next;
            sent += pages;
        }
        sent
    }

    fn end_round(&self, turn: &mut Turn<'_, K>) {
        let before = self.mapping().failures().count();
        let end = FilePos::MAX.page().plus(1);
        turn.end_round(|| {
            // Past the end of the file as well: a write that grows it marks its pages first.
            let unclean = self.mapping().find(PageIndex::ZERO, end, Mark::Unclean);
            unclean.is_some() || self.mapping().failures().count() != before
        });
    }
}
