//! Which files to flush: those that have been dirty for long, and the oldest ones while there are
//! too many dirty pages.
//!
//! No thread and no clock of its own: a thread of the embedder calls [`Flusher::step`], and
//! [`Task::now`] is the time. No allocation: the files stand in the embedder's table.
#![forbid(unsafe_code)]

use core::ops::{ControlFlow, Deref};

use faultless_page::Kernel;

use crate::flush::{Flushed, Left};
use crate::inode::Inode;
use crate::task::Task;
use crate::token::PageLocks;

/// Files that a step flushes at most.
const MOST_FILES: usize = 16;

/// The embedder's table of the inodes of one store.
///
/// The order of the keys does not matter; an inode keeps its key while it is in the table.
/// [`u64::MAX`] is no key.
pub trait Inodes<K: Kernel> {
    /// What keeps an inode alive, such as an `Arc`. If the last one is dropped, it is by the step:
    /// with no lock held.
    type Handle: Deref<Target = Inode<K>>;

    /// The inode with the lowest key that is at least `from`, with its key. No lock is held.
    fn next(&self, from: u64) -> Option<(u64, Self::Handle)>;

    /// More than every key that is in the table now. A table whose new keys are the highest says
    /// so, so that a pass over it ends however fast files come. No lock is held.
    fn end(&self) -> u64 {
        u64::MAX
    }
}

/// When the files of a store are flushed.
///
/// One for each store; it only holds the thresholds. Several threads may call its steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[doc(alias = "bdi_writeback")]
pub struct Flusher {
    age_ns: u64,
    background_pages: u64,
}

impl Flusher {
    /// Flushes files that have been dirty for `age_ns` nanoseconds, and others, oldest first, while
    /// more than `background_pages` pages are dirty.
    #[must_use]
    #[doc(alias = "dirty_expire_centisecs")]
    #[doc(alias = "dirty_background_bytes")]
    pub const fn new(age_ns: u64, background_pages: u64) -> Self {
        Self { age_ns, background_pages }
    }

    /// One step: hands up to `budget_pages` pages of `files` to the store, oldest file first, and
    /// waits for none. `dirty_pages` are dirty now, those under writeback not counted, as the
    /// embedder's counters say: [`u64::MAX`] sends whatever is dirty, for reclaim or before a sync
    /// of all files.
    ///
    /// Ends however fast other tasks dirty pages: it passes over the table twice, and over each of
    /// up to 16 files once (F4). A file whose pages cannot be sent, or whose writebacks fail, comes
    /// behind the others until the age is reached again.
    ///
    /// [`Left::Dirty`] means that the thresholds ask for another step. If this one sent nothing,
    /// that comes after the end of a writeback, or a period, and not at once.
    ///
    /// May sleep as [`Inode::flush`] does. No page lock is held, nor a lock that
    /// [`Inodes::next`] takes.
    #[doc(alias = "wb_writeback")]
    pub fn step<K: Kernel, I: Inodes<K>, T: Task>(
        &self,
        files: &I,
        token: &mut impl PageLocks,
        dirty_pages: u64,
        budget_pages: u32,
        task: &T,
    ) -> Flushed {
        let is_due = |since: u64| task.now().saturating_sub(since) >= self.age_ns;
        let is_above =
            |sent: u32| dirty_pages.saturating_sub(u64::from(sent)) > self.background_pages;
        let oldest = Oldest::of(files);
        let (mut pages, mut left) = (0, oldest.left_out);
        for &(since, key) in oldest.files() {
            if pages == budget_pages || !(is_due(since) || is_above(pages)) {
                left = earlier(left, Some(since));
                break;
            }
            let file = files.next(key).filter(|(found, _)| *found == key);
            let Some((_, file)) = file else { continue };
            let flushed = file.flush(token, budget_pages - pages, task);
            pages += flushed.pages;
            if flushed.left == Left::Dirty {
                left = earlier(left, file.dirty_since());
            }
        }
        let is_left = left.is_some_and(|since| is_due(since) || is_above(pages));
        Flushed { pages, left: if is_left { Left::Dirty } else { Left::Nothing } }
    }
}

/// Calls `visit` with each key and file in order, until it breaks. Keys at or past the end that the
/// table has when the pass begins are left out.
pub(crate) fn each<K: Kernel, B>(
    files: &impl Inodes<K>,
    mut visit: impl FnMut(u64, &Inode<K>) -> ControlFlow<B>,
) -> ControlFlow<B> {
    let end = files.end();
    let mut from = 0;
    while let Some((key, file)) = files.next(from).filter(|(key, _)| *key < end) {
        visit(key, &file)?;
        // A table that goes backward would never end.
        from = key.max(from) + 1;
    }
    ControlFlow::Continue(())
}

/// The earlier one of two times.
fn earlier(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    one.into_iter().chain(other).min()
}

/// The files that have been dirty for the longest time, in order.
struct Oldest {
    /// Since when, and the key.
    files: [(u64, u64); MOST_FILES],
    len: usize,
    /// The oldest file that has no place.
    left_out: Option<u64>,
}

impl Oldest {
    fn of<K: Kernel>(files: &impl Inodes<K>) -> Self {
        let mut oldest = Self { files: [(0, 0); MOST_FILES], len: 0, left_out: None };
        let look = |key, file: &Inode<K>| {
            if let Some(since) = file.dirty_since() {
                oldest.add(since, key);
            }
            ControlFlow::<()>::Continue(())
        };
        let _at_the_end = each(files, look);
        oldest
    }

    fn files(&self) -> &[(u64, u64)] {
        &self.files[..self.len]
    }

    fn add(&mut self, since: u64, key: u64) {
        let at = self.files().partition_point(|file| *file <= (since, key));
        if at == MOST_FILES {
            self.left_out = earlier(self.left_out, Some(since));
            return;
        }
        if self.len == MOST_FILES {
            self.left_out = earlier(self.left_out, Some(self.files[MOST_FILES - 1].0));
        } else {
            self.len += 1;
        }
        self.files[at..self.len].rotate_right(1);
        self.files[at] = (since, key);
    }
}
