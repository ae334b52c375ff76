//! The numbers of interrupts.
#![forbid(unsafe_code)]

/// The timer of a CPU.
pub(crate) const TIMER: u8 = 0x40;
/// There is a thread to run.
pub(crate) const RESCHEDULE: u8 = 0x41;
/// Entries of a page table have changed.
pub(crate) const SHOOTDOWN: u8 = 0x42;
/// An error of a local APIC.
pub(crate) const ERROR: u8 = 0x43;
/// The disk has ended requests.
pub(crate) const DISK: u8 = 0x44;
/// An interrupt that was withdrawn.
pub(crate) const SPURIOUS: u8 = 0xff;
