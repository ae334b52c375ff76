//! Reading pages without a lock.
#![forbid(unsafe_code)]

use core::marker::PhantomData;
use core::ptr::NonNull;
use core::sync::atomic::Ordering::Relaxed;

use crate::debug::kernel_debug;
use crate::leaf::Leaf;
use crate::locked_bytes::bytes_at;
use crate::replacement::Ops;
use crate::{
    Kernel, LockContext, Mapping, PAGE_SHIFT, PAGE_SIZE, PAGES_PER_LEAF, PageIndex, PageRun,
    SlotMask, Word64,
};

/// A time during which uptodate pages of a mapping can be read without locks: frames found in it
/// are neither recycled nor freed before it ends, even if they leave the mapping.
///
/// Made from a [`LockContext`], because a fault in it could wait for a grace period that waits for
/// the section.
///
/// [`mem::forget`](core::mem::forget) of a section leaves it open for ever: every later grace
/// period of the cache, and with it every removal of pages, waits without end.
pub struct ReadSection<'t, K: Kernel> {
    mapping: &'t Mapping<K>,
    counter: &'t Word64<K>,
    context: PhantomData<(LockContext<'t>, *mut ())>,
}

/// How often the bytes of a span are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// The pages were put in for this use, which was counted then.
    First,
    /// The pages were there, or may have been.
    Again,
}

/// The leaf that has it, contiguous memory, and its length in bytes.
type Span<'s, K> = (&'s Leaf<<K as Kernel>::Sync, <K as Kernel>::Replacement>, NonNull<u8>, usize);

impl<K: Kernel> Mapping<K> {
    /// Begins reading without locks. See [`ReadSection`].
    #[inline(always)]
    #[must_use]
    pub fn read_section<'t>(&'t self, cx: LockContext<'t>) -> ReadSection<'t, K> {
        ReadSection::new(self, cx)
    }
}

impl<'t, K: Kernel> ReadSection<'t, K> {
    #[inline(always)]
    pub(crate) fn new(mapping: &'t Mapping<K>, _context: LockContext<'t>) -> Self {
        Self { mapping, counter: mapping.cache().begin(), context: PhantomData }
    }

    /// Contiguous memory that holds the file's bytes from `pos` on, at most `len`, inside one leaf:
    /// uptodate pages only. `None` if the page of `pos` is not uptodate, or `len` is 0. Good for
    /// reading until the section ends. The file's size is not looked at.
    #[inline]
    #[must_use]
    pub fn span(&self, pos: u64, len: usize) -> Option<(NonNull<u8>, usize)> {
        leaf_span(self.mapping, pos, len).map(|(_, memory, len)| (memory, len))
    }

    /// As [`span`](Self::span), with the slots of the leaf whose use is to be noticed, by
    /// [`keep`](Self::keep): in the span, or elsewhere. Tells [`Kernel::Replacement`] of the
    /// `usage` of the pages of the span, as [`LockedRun::mark_used`](crate::LockedRun::mark_used)
    /// does.
    #[inline]
    #[must_use]
    pub fn marked_span(
        &self,
        pos: u64,
        len: usize,
        usage: Usage,
    ) -> Option<(NonNull<u8>, usize, SlotMask)> {
        let (leaf, memory, len) = leaf_span(self.mapping, pos, len)?;
        if usage == Usage::Again
            && let Some(run) = PageRun::covering(pos, len)
        {
            K::Replacement::used(&leaf.words, run.mask());
        }
        Some((memory, len, leaf.marker.load(Relaxed)))
    }

    /// Memory that holds the `len` bytes of the file from `pos` on, if it is contiguous, and no
    /// page of the leaf has a marker. `None` otherwise, and if a page is not uptodate; nothing is
    /// noticed then. As `marked_span` for [`Usage::Again`].
    #[inline(always)]
    #[must_use]
    pub fn whole_span(&self, pos: u64, len: usize) -> Option<*const u8> {
        let room = PageIndex::bytes_from(pos);
        if len > room {
            return whole_pages(self.mapping, pos, len);
        }
        let index = PageIndex::containing(pos);
        let leaf = self.mapping.recent_leaf(index)?;
        let frame = leaf.readable_page(index.slot())?;
        if !leaf.marker.load(Relaxed).is_empty() {
            return None;
        }
        K::Replacement::used(&leaf.words, index.bit());
        Some(bytes_at(self.mapping.cache().frames(), frame, pos).0.as_ptr().cast_const())
    }

    /// Takes the [marker](crate::LockedRun::set_marker) from a page; whether it had one. A
    /// [transient](crate::LockedRun::set_transient) page keeps its own.
    pub fn take_marker(&self, index: PageIndex) -> bool {
        let slot = index.bit();
        self.mapping.leaf_to_read(index).is_some_and(|leaf| {
            leaf.asks_for_more(slot).contains(slot)
                && leaf.marker.fetch_and(!slot, Relaxed).contains(slot)
        })
    }

    /// The pages are used by an operation that keeps what it uses: those that are
    /// [transient](crate::LockedRun::set_transient) are not any more. The first of them that has a
    /// marker for [`take_marker`](Self::take_marker). A page of zeros that can be had again
    /// [at any time](crate::Mapping::holes_are_zeros) stays as it is.
    pub fn keep(&self, run: PageRun) -> Option<PageIndex> {
        let leaf = self.mapping.leaf_to_read(run.first())?;
        if !self.mapping.holes_are_zeros() {
            leaf.keep(run.mask());
        }
        let slot = leaf.asks_for_more(run.mask()).first()?;
        Some(run.leaf_base().plus(u64::from(slot)))
    }

    /// Whether the page is uptodate.
    #[must_use]
    pub fn is_uptodate(&self, index: PageIndex) -> bool {
        self.span(index.start(), 1).is_some()
    }
}

/// What lies in one leaf. Inside a read section, whose guard is not handed over: it would have to
/// be in memory for that.
#[inline(always)]
fn leaf_span<K: Kernel>(mapping: &Mapping<K>, pos: u64, len: usize) -> Option<Span<'_, K>> {
    let index = PageIndex::containing(pos);
    let leaf = mapping.leaf_to_read(index)?;
    if len == 0 {
        return None;
    }
    // One page too many at most: what is not asked for is clipped at the end.
    let touched = (len >> PAGE_SHIFT).saturating_add(2);
    let limit = touched.min(PAGES_PER_LEAF) as u32;
    let (frame, pages) = leaf.readable(index.slot(), limit)?;
    let (memory, room) = bytes_at(mapping.cache().frames(), frame, pos);
    let len = len.min(room + (pages as usize - 1) * PAGE_SIZE);
    Some((leaf, memory, len))
}

/// [`whole_span`](ReadSection::whole_span) of more than one page, inside the section.
#[inline(never)]
fn whole_pages<K: Kernel>(mapping: &Mapping<K>, pos: u64, len: usize) -> Option<*const u8> {
    let (leaf, memory, found) = leaf_span(mapping, pos, len)?;
    if found < len || !leaf.marker.load(Relaxed).is_empty() {
        return None;
    }
    let run = PageRun::covering(pos, len)?;
    K::Replacement::used(&leaf.words, run.mask());
    Some(memory.as_ptr().cast_const())
}

impl<K: Kernel> Drop for ReadSection<'_, K> {
    #[inline(always)]
    fn drop(&mut self) {
        self.mapping.cache().end(self.counter);
    }
}

kernel_debug!(ReadSection<'_, K>, |this| { mapping: this.mapping.id() });
