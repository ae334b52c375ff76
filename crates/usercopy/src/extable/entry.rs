//! One entry of the table: relative addresses, as the assembly writes them.
#![forbid(unsafe_code)]

use core::ptr;

/// What the trap handler does first when an instruction of the table faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The ordinary fault handling, which may sleep; the fix-up only if that fails.
    Faulting,
    /// The fix-up, at once: locks may be held (U3).
    Atomic,
}

impl Kind {
    /// [`Kind::Faulting`] as the assembly writes it.
    pub(crate) const FAULTING: u32 = 0;
    /// [`Kind::Atomic`] as the assembly writes it.
    pub(crate) const ATOMIC: u32 = 1;
}

/// One instruction that may fault.
///
/// `insn` and `fixup` are relative to the address of their own field, as `.long target - .` writes
/// them: an entry means something only where it lies.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Entry {
    /// Distance from this field to the instruction.
    pub insn: i32,
    /// Distance from this field to the place where execution goes on.
    pub fixup: i32,
    /// Numeric [`Kind`].
    pub kind: u32,
}

static_assertions::const_assert_eq!(size_of::<Entry>(), 12);

impl Entry {
    /// Address of the instruction.
    #[must_use]
    pub fn insn(&self) -> usize {
        follow(&self.insn)
    }

    /// Address of the fix-up.
    #[must_use]
    pub fn fixup(&self) -> usize {
        follow(&self.fixup)
    }

    /// What to do first. An unknown number means the stricter [`Kind::Atomic`].
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self.kind {
            Kind::FAULTING => Kind::Faulting,
            _ => Kind::Atomic,
        }
    }

    /// Points the entry, which lies at its final place, at absolute addresses. `None` if they are
    /// too far.
    pub(super) fn aim(&mut self, insn: usize, fixup: usize, kind: u32) -> Option<()> {
        self.insn = distance(&self.insn, insn)?;
        self.fixup = distance(&self.fixup, fixup)?;
        self.kind = kind;
        Some(())
    }
}

/// The address that a relative field means.
fn follow(field: &i32) -> usize {
    ptr::from_ref(field).addr().wrapping_add_signed(*field as isize)
}

/// What `field` has to hold to mean `target`.
fn distance(field: &i32, target: usize) -> Option<i32> {
    let distance = target.wrapping_sub(ptr::from_ref(field).addr()).cast_signed();
    i32::try_from(distance).ok()
}

/// Why a table could not be sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooFar;

impl core::fmt::Display for TooFar {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("an instruction lies more than 2 GiB away from the exception table")
    }
}

impl core::error::Error for TooFar {}
