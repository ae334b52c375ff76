//! What a kernel can count about its cache.
#![forbid(unsafe_code)]

/// A number of pages that has grown. See [`Kernel::count`](crate::Kernel::count).
///
/// Two of these and their opposites make a level: `Cached - Removed` pages are in the cache now,
/// `Dirtied - Cleaned` are dirty, `WritebackBegun - WritebackEnded` are under writeback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Count {
    /// Pages in the cache whose bytes a read, an overwrite or a fault has used. A page that had to
    /// be read from the store first is among them, after it was [`Filled`](Self::Filled); a page
    /// that a write brings in without reading it is not.
    Used,
    /// Pages that were read from the store: misses. `Used - Filled` are hits.
    Filled,
    /// Faults of user mappings that were resolved.
    Faulted,
    /// Pages that were put into the cache.
    Cached,
    /// Pages that were taken out: evicted, cut off, or dropped with their file.
    Removed,
    /// Pages that became dirty.
    Dirtied,
    /// Dirty pages that are so no longer: their writeback has begun, or they were taken out.
    Cleaned,
    /// Pages that are under writeback from now on.
    WritebackBegun,
    /// Pages that are under writeback no longer, whether it has succeeded or not.
    WritebackEnded,
}
