//! The bugs, one for each exhibit that needs one.

/// What is wrong with the path. The exhibit that it was made for stands in front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// Nothing.
    None,
    /// A3: a round works on the segment that it is in, and leaves it only behind bytes.
    StuckOnEmpty,
    /// A4: the whole rest of the request must be there, or nothing is written.
    WholeRequestOrNothing,
    /// A6: probes the first and the last byte of a piece only.
    ProbesTheEnds,
    /// A8: takes the answer of the fault-in for a yes or no, and tries the same length again.
    KeepsTheLength,
    /// A9: goes on if any byte of a window came, but copies only if all did.
    InnerWantsAll,
    /// A10: faults in the whole rest of the request for each page.
    FaultsInTheRest,
    /// A11: tries again whatever the fault-in said.
    IgnoresTheProbe,
    /// A12: takes a source that is not resident for a bad one.
    NeverFaultsIn,
    /// A13: probes before it looks whether there is anything to write.
    ProbesAnEmptyRequest,
    /// B4, B8, B10: what is around the copied bytes stays as the frame had it.
    RestUndefined,
    /// B5: commits, and tells the store, what was asked and not what was copied.
    CommitsAsked,
    /// B6: a page that is replaced as a whole gets dirty, but not uptodate.
    NeverUptodate,
    /// B7: the page is uptodate before the store was asked.
    UptodateEarly,
    /// B12: takes it that the next page lies behind the one that it has an address for.
    OneMapForAll,
    /// B13: does not look for what a mapping stored past the end.
    IgnoresScribbles,
    /// B14: tells the store an offset in the page where it wants a position in the file.
    InPageOffset,
    /// C2: keeps blocks past the end.
    NoTrim,
    /// C3: gives blocks back, but remembers the page as reserved.
    KeepsBacked,
    /// C4: gives blocks back only if the file did not grow.
    TrimOnlyWithoutGrowth,
    /// C5: commits a page into which nothing was copied.
    DirtyOnZero,
    /// C6: moves on by what was asked.
    AdvancesByAsked,
    /// C7: an error hides what was written.
    ErrorBeatsProgress,
    /// C7: what was written hides that it was not all.
    CountsAsked,
    /// C8: bytes that were copied and not accepted stay consumed.
    NoRevert,
    /// C9: a clipped request stays clipped.
    ForgetsTheClip,
    /// C10: commits whole sectors, counts bytes.
    CommitsSectors,
    /// C11: asks for room first, then faults in, then writes.
    StaleMapping,
    /// C12: sets the size first, and drops the count on an error.
    GrowsFirst,
    /// E5: a write that came short writes all of it again.
    WritesAgain,
    /// E13: no limit of the task is a limit of the largest number, which has its signal; the
    /// largest file is not looked at.
    NoLimitIsALimit,
}
