//! Type parameters of the back ends: how the CPU is told that a user access is meant, and what its
//! fault does.

use core::marker::PhantomData;

use crate::extable::Kind;

/// Opens and closes the CPU's window to user memory (SMAP, PAN, SUM) around an access. A type, so
/// that a kernel or process without one pays nothing.
///
/// A trap handler saves the window's state with the frame and closes it for itself: a copy that
/// faults has it open.
///
/// # Safety
/// Between `open` and `close` user memory is accessible to ordinary loads and stores of this CPU.
/// Both have no other effect that Rust code can see.
pub unsafe trait AccessWindow {
    /// From how many bytes on a copy uses the machine's string move (x86-64 only: `rep movsb`). Its
    /// right value with `fsrm` or `erms` is about 1 KiB; `usize::MAX` where neither is there.
    const STRING_MOVE_MIN: usize = 1024;

    /// Lets the kernel access user memory.
    ///
    /// # Safety
    /// [`close`](Self::close) follows on the same CPU context, and in between only instructions
    /// that are meant to access user memory do so.
    unsafe fn open();

    /// Forbids it again.
    ///
    /// # Safety
    /// Pairs with [`open`](Self::open).
    unsafe fn close();
}

/// No window: a process, or a CPU without one.
#[derive(Debug)]
pub struct NoWindow;

// SAFETY: where there is no window, memory is always accessible.
unsafe impl AccessWindow for NoWindow {
    #[inline(always)]
    unsafe fn open() {}

    #[inline(always)]
    unsafe fn close() {}
}

/// The window `W`, with string moves from `MIN` bytes on instead.
#[derive(Debug)]
pub struct RepMovsMin<const MIN: usize, W = NoWindow>(PhantomData<W>);

// SAFETY: that of `W`.
unsafe impl<const MIN: usize, W: AccessWindow> AccessWindow for RepMovsMin<MIN, W> {
    const STRING_MOVE_MIN: usize = MIN;

    #[inline(always)]
    unsafe fn open() {
        // SAFETY: the same contract.
        unsafe { W::open() }
    }

    #[inline(always)]
    unsafe fn close() {
        // SAFETY: the same contract.
        unsafe { W::close() }
    }
}

mod sealed {
    pub trait Sealed {
        const KIND: u32;
    }
}

/// What the trap handler shall do with a fault of a copy: [`Faulting`] or [`Atomic`]. Sealed.
pub trait FaultPolicy: sealed::Sealed {}

/// Resolve the fault, sleep if need be ([`Kind::Faulting`]).
#[derive(Debug)]
pub struct Faulting;

/// End the copy at once ([`Kind::Atomic`]).
#[derive(Debug)]
pub struct Atomic;

impl sealed::Sealed for Faulting {
    const KIND: u32 = Kind::FAULTING;
}

impl sealed::Sealed for Atomic {
    const KIND: u32 = Kind::ATOMIC;
}

impl FaultPolicy for Faulting {}

impl FaultPolicy for Atomic {}
