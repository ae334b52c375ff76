//! Failed writebacks of one inode, as a sequence: every open file is told of each failure once.
//!
//! The word holds the number of failures, the latest error, and whether a caller has been told. A
//! failure is recorded *before* its pages stop being under writeback (F2). A sync notes the
//! sequence before its first look at the pages and compares at its end, so it learns of failures of
//! pages that it only waited for, and of those that failed between its two loads of a page's marks.
#![forbid(unsafe_code)]

use core::sync::atomic::Ordering::{AcqRel, Acquire};

use faultless_page::{Errno, Kernel, Word, Word64};

/// Bits of the errno.
const CODE: u64 = 0x7fff;
/// A caller has been told of the latest failure.
const SEEN: u64 = 0x8000;
/// The count of failures starts here.
const COUNT_SHIFT: u32 = 16;

/// A place in an inode's sequence of writeback failures: the failures before it have been reported.
///
/// An open file has one ([`OpenFile`](crate::OpenFile)). The default is the start of the sequence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[doc(alias = "errseq_t")]
#[doc(alias = "f_wb_err")]
pub struct ErrorCursor(u64);

/// The sequence itself.
pub(crate) struct ErrorSequence<K: Kernel> {
    latest: Word64<K>,
    /// The cursor of callers that have no open file.
    unnamed: Word64<K>,
}

impl<K: Kernel> ErrorSequence<K> {
    pub(crate) fn new() -> Self {
        Self { latest: Word::new(0), unnamed: Word::new(0) }
    }

    /// Adds a failure. Call before the failed pages stop being under writeback (F2).
    #[doc(alias = "mapping_set_error")]
    pub(crate) fn record(&self, error: Errno) {
        let code = u64::from(error.code().unsigned_abs()) & CODE;
        let mut seen = self.latest.load(Acquire);
        loop {
            let next = ((seen >> COUNT_SHIFT) + 1) << COUNT_SHIFT | code;
            match self.latest.compare_exchange(seen, next, AcqRel, Acquire) {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
    }

    /// Where the sequence stands now. Take it before the first look at a page.
    pub(crate) fn mark(&self) -> ErrorCursor {
        ErrorCursor(self.latest.load(Acquire))
    }

    /// The cursor of a new open file: it is told of a failure that no caller has been told of yet.
    #[doc(alias = "errseq_sample")]
    pub(crate) fn sample(&self) -> ErrorCursor {
        let latest = self.latest.load(Acquire);
        ErrorCursor(if latest & SEEN == 0 { 0 } else { latest })
    }

    /// The latest failure since `mark`, without counting it as reported.
    pub(crate) fn since(&self, mark: ErrorCursor) -> Result<(), Errno> {
        reported(self.latest.load(Acquire), mark.0)
    }

    /// The latest failure since `cursor`, which moves past it: a caller is told.
    #[doc(alias = "errseq_check_and_advance")]
    pub(crate) fn report(&self, cursor: &mut ErrorCursor) -> Result<(), Errno> {
        let latest = self.latest.load(Acquire);
        let result = reported(latest, cursor.0);
        if result.is_err() {
            self.tell(latest);
        }
        cursor.0 = latest;
        result
    }

    /// The latest failure that no caller without an open file was told of, or that came since
    /// `mark`. Two such callers that both waited for a failed page are both told.
    pub(crate) fn report_unnamed(&self, mark: ErrorCursor) -> Result<(), Errno> {
        let latest = self.latest.load(Acquire);
        let result = self.advance_unnamed(latest).and(reported(latest, mark.0));
        if result.is_err() {
            self.tell(latest);
        }
        result
    }

    /// Moves the unnamed cursor forward to `latest`, never back; the error if this call moved it
    /// past one.
    fn advance_unnamed(&self, latest: u64) -> Result<(), Errno> {
        let mut before = self.unnamed.load(Acquire);
        while reported(latest, before).is_err() {
            match self.unnamed.compare_exchange(before, latest, AcqRel, Acquire) {
                Ok(_) => return reported(latest, before),
                Err(now) => before = now,
            }
        }
        Ok(())
    }

    /// Notes that a caller was told of `latest`, unless another failure has come meanwhile.
    fn tell(&self, latest: u64) {
        let _newer = self.latest.compare_exchange(latest, latest | SEEN, AcqRel, Acquire);
    }
}

/// The error in `latest` if it counts more failures than `before`.
fn reported(latest: u64, before: u64) -> Result<(), Errno> {
    if latest >> COUNT_SHIFT <= before >> COUNT_SHIFT {
        return Ok(());
    }
    let is_it = |errno: &Errno| u64::from(errno.code().unsigned_abs()) == latest & CODE;
    let known = [Errno::NoSpace, Errno::NoMemory, Errno::ReadOnly, Errno::Invalid];
    Err(known.into_iter().find(is_it).unwrap_or(Errno::Io))
}
