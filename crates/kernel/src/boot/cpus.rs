//! The other CPUs: which there are, by the tables of ACPI, and how they come up, one after the
//! other.

use core::ptr::{NonNull, copy_nonoverlapping};
use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use alloc::vec::Vec;

use acpi::madt::{Madt, MadtEntry};
use acpi::{AcpiHandler, AcpiTables, PhysicalMapping};

use crate::arch::percpu::{self, MAX_CPUS};
use crate::arch::serial::say;
use crate::arch::{self, apic, clock};
use crate::boot::start::{BOOT_STACK, TRAMPOLINE, trampoline_end, trampoline_start};
use crate::memory::direct_map;
use crate::sched;

/// Where the stack of the CPU that comes up ends.
pub(super) static OTHER_STACK: AtomicUsize = AtomicUsize::new(0);

/// The number of the CPU that comes up.
static NUMBER: AtomicUsize = AtomicUsize::new(0);

/// How long a CPU may take to come up, in nanoseconds.
const LIMIT: u64 = 1_000_000_000;

/// The tables of ACPI lie in the direct map.
#[derive(Clone, Copy)]
struct InDirectMap;

impl AcpiHandler for InDirectMap {
    unsafe fn map_physical_region<T>(&self, at: usize, len: usize) -> PhysicalMapping<Self, T> {
        let start = NonNull::new(direct_map(at).cast()).unwrap_or(NonNull::dangling());
        // SAFETY: mapped for good.
        unsafe { PhysicalMapping::new(at, start, len, len, *self) }
    }

    fn unmap_physical_region<T>(_region: &PhysicalMapping<Self, T>) {}
}

/// Starts all CPUs that there are, and waits for each.
pub(super) fn start(acpi: usize) {
    let len = (&raw const trampoline_end).addr() - (&raw const trampoline_start).addr();
    // SAFETY: a page below 1 MiB that nothing uses, and less code than a page.
    unsafe { copy_nonoverlapping(&raw const trampoline_start, direct_map(TRAMPOLINE), len) };
    let own = percpu::this().apic.load(Relaxed);
    let others = local_apics(acpi).into_iter().filter(|number| *number as usize != own);
    for (cpu, apic_number) in (1..MAX_CPUS).zip(others) {
        let stack = Vec::<u8>::leak(alloc::vec![0; BOOT_STACK]);
        let top = stack.as_mut_ptr().expose_provenance() + BOOT_STACK;
        OTHER_STACK.store(top & !15, Relaxed);
        NUMBER.store(cpu, Release);
        apic::start_cpu(apic_number, (TRAMPOLINE >> 12) as u8);
        let until = clock::monotonic() + LIMIT;
        let online = &percpu::cpus()[cpu].online;
        while !online.load(Acquire) && clock::monotonic() < until {
            core::hint::spin_loop();
        }
        if !online.load(Acquire) {
            say!("kernel: CPU {cpu} does not come up");
            return;
        }
    }
}

/// The numbers of all local APICs whose CPUs can be used.
fn local_apics(acpi: usize) -> Vec<u32> {
    // SAFETY: the address that the loader gave; the tables are in the direct map.
    let tables = unsafe { AcpiTables::from_rsdp(InDirectMap, acpi) };
    let madt = tables.ok().and_then(|tables| tables.find_table::<Madt>().ok());
    let Some(madt) = madt else { return Vec::new() };
    madt.get()
        .entries()
        .filter_map(|entry| match entry {
            MadtEntry::LocalApic(apic) if apic.flags & 1 != 0 => Some(apic.apic_id.into()),
            _ => None,
        })
        .collect()
}

/// This CPU has come up.
pub(super) fn arrived() {
    let cpu = NUMBER.load(Acquire);
    arch::init_cpu(cpu);
    let stack = OTHER_STACK.load(Relaxed) - BOOT_STACK;
    sched::idle(core::ptr::with_exposed_provenance_mut(stack));
    percpu::this().online.store(true, Release);
}
