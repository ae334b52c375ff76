//! Which callers are told of the failed writebacks of an inode: every open file, of each once.
//!
//! The mapping counts the failures ([`Mapping::failures`]); here are the places in that sequence. A
//! failure is recorded *before* its pages stop being under writeback (F2). A sync notes the
//! sequence before its first look at the pages and compares at its end, so it learns of failures of
//! pages that it only waited for, and of those that failed between its two loads of a page's marks.
#![forbid(unsafe_code)]

use core::sync::atomic::Ordering::{AcqRel, Acquire, Release};

use faultless_page::{Errno, Failures, Kernel, Mapping, Word, Word64};

/// A place in an inode's sequence of writeback failures: the failures before it have been reported.
///
/// An open file has one ([`OpenFile`](crate::OpenFile)). The default is the start of the sequence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[doc(alias = "errseq_t")]
#[doc(alias = "f_wb_err")]
pub struct ErrorCursor(u64);

impl ErrorCursor {
    /// Where the sequence of `mapping` stands now. Take it before the first look at a page.
    pub(crate) fn now<K: Kernel>(mapping: &Mapping<K>) -> Self {
        Self(mapping.failures().count())
    }

    /// The cursor of a new open file: it is told of a failure that no caller has been told of yet.
    #[doc(alias = "errseq_sample")]
    pub(crate) fn of_new_file<K: Kernel>(mapping: &Mapping<K>) -> Self {
        let failures = mapping.failures();
        Self(if failures.is_seen() { failures.count() } else { 0 })
    }

    /// The latest failure since this place, without counting it as reported.
    pub(crate) fn since<K: Kernel>(self, mapping: &Mapping<K>) -> Result<(), Errno> {
        reported(mapping.failures(), self.0)
    }

    /// The latest failure since this place, which moves past it: a caller is told.
    #[doc(alias = "errseq_check_and_advance")]
    pub(crate) fn report<K: Kernel>(&mut self, mapping: &Mapping<K>) -> Result<(), Errno> {
        let failures = mapping.failures();
        let result = reported(failures, self.0);
        if result.is_err() {
            mapping.note_seen(failures);
        }
        self.0 = failures.count();
        result
    }
}

/// The place of all callers that have no open file.
pub(crate) struct UnnamedCursor<K: Kernel>(Word64<K>);

impl<K: Kernel> UnnamedCursor<K> {
    pub(crate) fn new() -> Self {
        Self(Word::new(0))
    }

    /// The latest failure that no caller without an open file was told of, or that came since
    /// `mark`. Two such callers that both waited for a failed page are both told.
    pub(crate) fn report(&self, mapping: &Mapping<K>, mark: ErrorCursor) -> Result<(), Errno> {
        let failures = mapping.failures();
        let result = self.advance(failures).and(reported(failures, mark.0));
        if result.is_err() {
            mapping.note_seen(failures);
        }
        result
    }

    /// Moves forward to `failures`, never back; the error if this call moved it past one.
    fn advance(&self, failures: Failures) -> Result<(), Errno> {
        let mut before = self.0.load(Acquire);
        while reported(failures, before).is_err() {
            match self.0.compare_exchange(before, failures.count(), AcqRel, Acquire) {
                Ok(_) => return reported(failures, before),
                Err(now) => before = now,
            }
        }
        Ok(())
    }
}

/// The error of a sync of the store that failed and lost what had been sent before it
/// ([`FailedSync::Loses`](faultless_page::FailedSync)), as [`Failures`].
///
/// No later sync may succeed, because the pages are clean and a later flush of the device says
/// nothing about them (fsyncgate).
pub(crate) struct LostSync<K: Kernel>(Word64<K>);

impl<K: Kernel> LostSync<K> {
    pub(crate) fn new() -> Self {
        Self(Word::new(0))
    }

    /// A sync has failed. The first error stays.
    pub(crate) fn note(&self, errno: Errno) {
        let [none, first] = [Failures::NONE, Failures::NONE.and(errno)].map(Failures::raw);
        let _earlier = self.0.compare_exchange(none, first, AcqRel, Acquire);
    }

    /// What was lost is there again, or is given up.
    pub(crate) fn forget(&self) {
        self.0.store(Failures::NONE.raw(), Release);
    }

    pub(crate) fn result(&self) -> Result<(), Errno> {
        reported(Failures::from_raw(self.0.load(Acquire)), 0)
    }
}

/// The error of `failures` if they are more than `before`.
pub(crate) fn reported(failures: Failures, before: u64) -> Result<(), Errno> {
    if failures.count() > before { Err(failures.latest()) } else { Ok(()) }
}
