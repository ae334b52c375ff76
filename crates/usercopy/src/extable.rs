//! The exception table: which kernel instructions may fault on user memory, and where to go on when
//! they do.
//!
//! The entries are data, written by the assembly in [`arch`](crate::arch) into the section
//! `__ex_table`; they are relative, so the table needs no relocation. The trap handler asks
//! [`Table::find`]. Linkers do not sort the section by address: [`Table`] notices and searches
//! linearly, until [`sort_extable`](crate::sort_extable) was called once at early boot. This module
//! owns no handler and knows no trap frame.
//!
//! # In a trap handler
//! ```
//! use faultless_usercopy::extable::{Resume, Table};
//! # struct Frame { ip: usize }
//! # fn handle_user_fault(_address: usize) -> bool { true }
//!
//! /// A page fault in kernel mode at a user address. (At a kernel address the table is not asked: that is a bug.)
//! fn kernel_page_fault(table: &Table<'_>, frame: &mut Frame, address: usize) {
//!     match table.resume(frame.ip, || handle_user_fault(address)) {
//!         Some(Resume::Retry) => {}
//!         Some(Resume::At(ip)) => frame.ip = ip,
//!         None => panic!("kernel bug: unexpected access to {address:#x}"),
//!     }
//! }
//! ```
//!
//! # In a linker script
//! Linkers keep the section and define its symbols by themselves. A script that names every output
//! section says
//! `__ex_table : { __start___ex_table = .; KEEP(*(__ex_table)) __stop___ex_table = .; }`.
#![forbid(unsafe_code)]

mod entry;

pub use self::entry::{Entry, Kind, TooFar};

/// Whether the entries are in ascending order of their instructions.
#[must_use]
pub fn is_sorted(table: &[Entry]) -> bool {
    table.is_sorted_by_key(Entry::insn)
}

/// The entry for the instruction at `ip`, by binary search. The table must be sorted.
#[must_use]
pub fn find(table: &[Entry], ip: usize) -> Option<&Entry> {
    let at = table.binary_search_by_key(&ip, Entry::insn).ok()?;
    table.get(at)
}

/// The fix-up address for the instruction at `ip`, by binary search. The table must be sorted.
#[must_use]
#[doc(alias = "search_exception_tables")]
pub fn search(table: &[Entry], ip: usize) -> Option<usize> {
    find(table, ip).map(Entry::fixup)
}

/// Sorts the table in place, where it is mapped writable: once, at early boot, before the first
/// fault. Heapsort: no memory, no recursion.
///
/// # Errors
/// [`TooFar`] if an entry would have to point further than its field can: the table is unusable
/// then, which only an image of more than 2 GiB can bring about.
#[doc(alias = "sort_extable")]
pub fn sort(table: &mut [Entry]) -> Result<(), TooFar> {
    for root in (0..table.len() / 2).rev() {
        sift_down(table, root)?;
    }
    for end in (1..table.len()).rev() {
        swap(table, 0, end)?;
        sift_down(&mut table[..end], 0)?;
    }
    Ok(())
}

/// Restores the heap order (largest first) below `root`.
fn sift_down(heap: &mut [Entry], mut root: usize) -> Result<(), TooFar> {
    loop {
        let left = 2 * root + 1;
        let Some(child) = [left, left + 1]
            .into_iter()
            .filter(|&at| at < heap.len())
            .max_by_key(|&at| heap[at].insn())
        else {
            return Ok(());
        };
        if heap[child].insn() <= heap[root].insn() {
            return Ok(());
        }
        swap(heap, root, child)?;
        root = child;
    }
}

/// Exchanges what two entries mean.
fn swap(table: &mut [Entry], a: usize, b: usize) -> Result<(), TooFar> {
    let meaning = |entry: &Entry| (entry.insn(), entry.fixup(), entry.kind);
    let (was_a, was_b) = (meaning(&table[a]), meaning(&table[b]));
    table[a].aim(was_b.0, was_b.1, was_b.2).ok_or(TooFar)?;
    table[b].aim(was_a.0, was_a.1, was_a.2).ok_or(TooFar)
}

/// An exception table as the trap handler uses it.
#[derive(Clone, Copy, Debug)]
pub struct Table<'t> {
    entries: &'t [Entry],
    order: Order,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Sorted,
    Unsorted,
}

impl Table<'static> {
    /// The table of this image. Takes no lock, allocates nothing; looks at every entry once, so a
    /// kernel keeps the value.
    #[must_use]
    pub fn of_image() -> Self {
        Self::new(table())
    }
}

impl<'t> Table<'t> {
    /// A table over `entries`, sorted or not.
    #[must_use]
    pub fn new(entries: &'t [Entry]) -> Self {
        let order = if is_sorted(entries) { Order::Sorted } else { Order::Unsorted };
        Self { entries, order }
    }

    /// The entries.
    #[must_use]
    pub const fn entries(&self) -> &'t [Entry] {
        self.entries
    }

    /// The entry for the instruction at `ip`. Async-signal-safe: takes no lock, allocates nothing.
    #[must_use]
    pub fn find(&self, ip: usize) -> Option<&'t Entry> {
        match self.order {
            Order::Sorted => find(self.entries, ip),
            Order::Unsorted => self.entries.iter().find(|entry| entry.insn() == ip),
        }
    }

    /// The fix-up address for the instruction at `ip`.
    #[must_use]
    pub fn search(&self, ip: usize) -> Option<usize> {
        self.find(ip).map(Entry::fixup)
    }

    /// Decides how to go on after a fault at `ip`. `resolve`, the ordinary fault handling, is
    /// called for [`Kind::Faulting`] instructions only and says whether the access can be repeated;
    /// for [`Kind::Atomic`] ones it must not run, since locks may be held (U3). `None`: no user
    /// access, but a bug.
    ///
    /// `resolve` says no to a fault that it cannot cure: an access that is repeated without a
    /// change faults for ever. A fault that came because user access was not open (SMAP, PAN, SUM)
    /// is a bug of the kernel, and better told before this is asked.
    pub fn resume(&self, ip: usize, resolve: impl FnOnce() -> bool) -> Option<Resume> {
        let entry = self.find(ip)?;
        if entry.kind() == Kind::Faulting && resolve() {
            return Some(Resume::Retry);
        }
        Some(Resume::At(entry.fixup()))
    }
}

/// Where execution goes on after a fault of a registered instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// At the same instruction: the fault was resolved.
    Retry,
    /// At this address: the copy ends there with its exact count.
    At(usize),
}

/// The entries that the linker collected from this image, in link order unless
/// [`sort_extable`](crate::sort_extable) was called. Empty on an architecture without an assembly
/// back end.
#[must_use]
pub fn table() -> &'static [Entry] {
    crate::arch::native::table()
}
