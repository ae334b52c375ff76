//! TLB shoot-down: making all CPUs forget old entries of a page table. The same request serves for
//! a barrier that one thread makes for all (`membarrier`).
//!
//! A CPU that uses the table is asked by an interrupt, and forgets all its entries. Its two counts
//! say how often it was asked, and up to which request it has answered; the caller waits with
//! interrupts on, so that two callers on two CPUs answer each other.
//!
//! A CPU that loads the table meanwhile publishes that first, and then loads it, which empties its
//! TLB: either it is seen here, or its TLB fills after the entries were changed.

use core::ops::Range;
use core::sync::atomic::Ordering::{Relaxed, SeqCst};

use faultless::parts::InterruptControl;
use faultless::prelude::PAGE_SIZE;
use x86_64::VirtAddr;
use x86_64::instructions::{interrupts, tlb};

use crate::arch::apic;
use crate::arch::percpu::{self, MAX_CPUS, PerCpu};
use crate::arch::vectors::SHOOTDOWN;
use crate::sched;
use crate::sync::Interrupts;

/// As many pages are forgotten one by one; for more, all are.
const SINGLE: usize = 8;

/// Makes every CPU forget old entries of these pages of the table at `root`. Interrupts are on, and
/// no short lock is held.
pub(crate) fn flush(root: usize, pages: &Range<usize>) {
    flush_where(pages, |cpu| cpu.root.load(SeqCst) == root);
}

/// The same for pages of the kernel, which all tables have.
pub(crate) fn flush_kernel(pages: &Range<usize>) {
    flush_where(pages, |cpu| cpu.online.load(SeqCst));
}

/// What a barrier is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Barrier {
    /// Accesses to memory, and instructions that were changed.
    Order,
    /// Restartable sequences begin anew, too.
    Restart,
}

/// Makes the CPUs that are meant go through a full barrier, and begin anew to fetch instructions:
/// those that use the table at `root`, or all; the one of a number, or all of them. As [`flush`].
///
/// A CPU that leaves the table meanwhile goes through a barrier of its own.
pub(crate) fn barrier(root: Option<usize>, number: Option<usize>, kind: Barrier) {
    flush_where(&(0..0), |cpu| {
        let is_meant = cpu.online.load(SeqCst)
            && root.is_none_or(|root| cpu.root.load(SeqCst) == root)
            && number.is_none_or(|number| cpu.number() == number);
        // The caller itself is in no sequence.
        if is_meant && kind == Barrier::Restart && cpu.number() != percpu::number() {
            cpu.restarts.store(true, SeqCst);
        }
        is_meant
    });
}

fn flush_where(pages: &Range<usize>, is_meant: impl Fn(&PerCpu) -> bool) {
    debug_assert!(interrupts::are_enabled(), "a flush with a short lock");
    let flags = Interrupts::save_and_disable();
    let own = percpu::number();
    if is_meant(percpu::this()) {
        flush_own(pages);
    }
    // Pairs with the store of `root` before a table is loaded.
    core::sync::atomic::fence(SeqCst);
    let mut asked = [None; MAX_CPUS];
    for (number, cpu) in percpu::cpus().iter().enumerate() {
        if number != own && is_meant(cpu) {
            asked[number] = Some(cpu.flushes_wanted.fetch_add(1, SeqCst) + 1);
            apic::interrupt(number, SHOOTDOWN);
        }
    }
    Interrupts::restore(flags);
    for (cpu, request) in percpu::cpus().iter().zip(asked) {
        while request.is_some_and(|request| cpu.flushes_done.load(SeqCst) < request) {
            core::hint::spin_loop();
        }
    }
}

fn flush_own(pages: &Range<usize>) {
    if pages.len() > SINGLE {
        tlb::flush_all();
        return;
    }
    for page in pages.clone() {
        tlb::flush(VirtAddr::new_truncate((page * PAGE_SIZE) as u64));
    }
}

/// Answers all requests so far. Interrupts are off.
pub(super) fn answer() {
    let own = percpu::this();
    let wanted = own.flushes_wanted.load(SeqCst);
    if own.restarts.swap(false, SeqCst) {
        sched::with_current(sched::Thread::interrupt_sequence);
    }
    // Serialising: as much as a barrier asks for.
    tlb::flush_all();
    own.flushes_done.fetch_max(wanted, SeqCst);
}

/// Uses the page table at `root` from here on. Interrupts are off.
///
/// # Safety
/// The table stays, and maps the kernel, for as long as the CPU uses it.
pub(crate) unsafe fn activate(root: usize) {
    let own: &PerCpu = percpu::this();
    if own.root.load(Relaxed) == root {
        return;
    }
    own.root.store(root, SeqCst);
    let frame = x86_64::structures::paging::PhysFrame::containing_address(x86_64::PhysAddr::new(
        root as u64,
    ));
    // SAFETY: the caller's promise.
    unsafe {
        x86_64::registers::control::Cr3::write(
            frame,
            x86_64::registers::control::Cr3Flags::empty(),
        );
    }
}
