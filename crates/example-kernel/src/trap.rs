//! The page-fault trap, for all architectures: what the fault was, and how to go on.
//!
//! Key types: [`Frame`], which an architecture implements for the registers that its entry code has
//! saved, and [`on_page_fault`], which that code calls. Resolving a fault is in `fault`.

use faultless::prelude::*;
use faultless::usercopy::arch::AccessWindow;
use faultless::usercopy::extable::{Resume, Table};

use crate::fault::Signal;
use crate::machine::Machine;
use crate::space::AddressSpace;

/// From which mode the access was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// By the user program.
    User,
    /// By the kernel.
    Kernel,
}

/// Whether the kernel had user memory open (SMAP, PAN, SUM).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserMemoryWindow {
    /// Open: inside a user copy.
    Open,
    /// Closed: the access was not meant for user memory.
    Closed,
}

/// What a page fault was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cause {
    /// What the instruction wanted. A fetch counts as a load: page tables of this kernel do not
    /// tell the two apart.
    pub access: Access,
    /// Which mode it ran in.
    pub mode: Mode,
    /// The window, for the kernel mode.
    pub window: UserMemoryWindow,
}

/// The registers of the interrupted code, as the entry code saved them, and restores them.
pub trait Frame {
    /// Where it goes on.
    fn instruction(&mut self) -> &mut usize;

    /// What the fault was, by the frame and the register that says why. `None`: no page fault.
    fn cause(&self, error: usize) -> Option<Cause>;
}

/// What a CPU's trap handler knows of the thread that runs there.
#[derive(Debug)]
pub struct Current<'c, M: Machine, T> {
    /// Its address space.
    pub space: &'c AddressSpace<M>,
    /// The task, for fatal signals and the clock.
    pub task: &'c T,
    /// The exception table, sorted at boot.
    pub table: &'c Table<'static>,
}

/// How to go on after a trap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Return to the frame.
    Return,
    /// Deliver the signal to the user program.
    Signal(Signal),
    /// A bug of the kernel, or no page fault at all.
    Bug,
}

/// The page-fault trap at `address` (CR2, FAR, `stval`), for the reason `error` (the error code,
/// ESR, `scause`).
///
/// It runs on the kernel stack of the thread, since it may sleep. Interrupts are as they were in
/// the interrupted code. The return to the frame restores the window: RFLAGS.AC, SPSR.PAN or
/// `sstatus.SUM`. (Handlers of other traps close it at their entry, too.)
pub fn on_page_fault<M: Machine, T: Task>(
    current: &Current<'_, M, T>,
    frame: &mut impl Frame,
    address: usize,
    error: usize,
) -> Outcome {
    let Some(cause) = frame.cause(error) else { return Outcome::Bug };
    if cause.mode == Mode::Kernel {
        // SAFETY: pairs with the `open` of the copy, if this is one; the frame has it open again.
        unsafe { M::Window::close() };
    }
    let is_user = M::user_range().contains(&address);
    let resolve = || {
        // SAFETY: user mode holds no lock. In kernel mode this is called for instructions of the
        // kind `Faulting` alone, which need a `MayFault`. The handler itself does not fault.
        let mut token = unsafe { InFault::enter() };
        current.space.fault(&mut token, address / PAGE_SIZE, cause.access, current.task)
    };
    match cause.mode {
        Mode::User if !is_user => Outcome::Signal(Signal::Segv),
        Mode::User => resolve().map_or_else(Outcome::Signal, |()| Outcome::Return),
        // With the window closed the access would fault again and again, whatever is mapped.
        Mode::Kernel if M::HAS_WINDOW && cause.window == UserMemoryWindow::Closed => Outcome::Bug,
        Mode::Kernel if !is_user => Outcome::Bug,
        Mode::Kernel => {
            let instruction = frame.instruction();
            match current.table.resume(*instruction, || resolve().is_ok()) {
                Some(Resume::Retry) => {}
                Some(Resume::At(fixup)) => *instruction = fixup,
                None => return Outcome::Bug,
            }
            Outcome::Return
        }
    }
}
