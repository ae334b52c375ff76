//! The local APICs: a timer for each CPU, and interrupts from one CPU to another.

use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;

use x2apic::ioapic::{IoApic, IrqFlags, IrqMode, RedirectionTableEntry};
use x2apic::lapic::{LocalApic, LocalApicBuilder, TimerDivide, TimerMode};
use x86_64::instructions::port::Port;

use crate::arch::clock;
use crate::arch::percpu::{self, MAX_CPUS};
use crate::arch::vectors::{ERROR, SPURIOUS, TIMER};
use crate::memory::direct_map;
use crate::sync::Lock;

/// Where the local APIC of each CPU is.
const BASE: usize = 0xfee0_0000;

/// Where the I/O APIC is.
const IO_BASE: usize = 0xfec0_0000;

/// Turns of the timer in a second.
pub(crate) const TICKS_PER_SECOND: u64 = 250;

struct OwnApic(LocalApic);

// SAFETY: the crate keeps addresses of registers, which are the same for every CPU.
unsafe impl Send for OwnApic {}

/// Each CPU uses its own.
static APICS: [Lock<Option<OwnApic>>; MAX_CPUS] = [const { Lock::new(None) }; MAX_CPUS];

/// Counts of the timer from one turn to the next.
static TURN: AtomicU32 = AtomicU32::new(0);

/// Turns the local APIC of this CPU on, and its timer once [`start_timer`] is called.
///
/// # Panics
/// The crate refuses the numbers of the interrupts.
pub(super) fn init() {
    // The two older interrupt controllers stay silent.
    for port in [0x21, 0xa1] {
        // SAFETY: masks all their interrupts.
        unsafe { Port::<u8>::new(port).write(0xff) };
    }
    let mut apic = LocalApicBuilder::new()
        .timer_vector(TIMER.into())
        .error_vector(ERROR.into())
        .spurious_vector(SPURIOUS.into())
        .timer_mode(TimerMode::Periodic)
        .timer_divide(TimerDivide::Div16)
        .timer_initial(u32::MAX)
        .set_xapic_base(direct_map(BASE).addr() as u64)
        .build()
        .unwrap_or_else(|why| panic!("the local APIC: {why}"));
    // SAFETY: the handlers of the interrupts are there.
    unsafe { apic.enable() };
    // SAFETY: this CPU's own.
    let number = unsafe { apic.id() } >> number_at();
    percpu::this().apic.store(number as usize, Relaxed);
    *APICS[percpu::number()].lock() = Some(OwnApic(apic));
}

/// Where in registers the number of an APIC begins: only x2APIC mode, which IA32_APIC_BASE tells,
/// has all 32 bits for it.
fn number_at() -> u32 {
    // SAFETY: every CPU with a local APIC has the register.
    let base = unsafe { x86_64::registers::model_specific::Msr::new(0x1b).read() };
    if base & (1 << 10) != 0 { 0 } else { 24 }
}

/// Calls `act` with this CPU's APIC.
fn with<R>(act: impl FnOnce(&mut LocalApic) -> R) -> Option<R> {
    x86_64::instructions::interrupts::without_interrupts(|| {
        APICS[percpu::number()].lock().as_mut().map(|own| act(&mut own.0))
    })
}

/// Measures the clocks. Called once, on the first CPU, with interrupts off.
pub(crate) fn measure() {
    // SAFETY: reads a register.
    let count = || with(|apic| unsafe { apic.timer_current() }).unwrap_or(0);
    let measured = clock::init(count);
    let turn = u64::from(measured) * clock::MEASUREMENTS_PER_SECOND / TICKS_PER_SECOND;
    TURN.store(turn.max(1) as u32, Relaxed);
}

/// Lets the timer of this CPU interrupt it periodically.
pub(crate) fn start_timer() {
    // SAFETY: the handler of the timer is there.
    let start = |apic: &mut LocalApic| unsafe { apic.set_timer_initial(TURN.load(Relaxed)) };
    with(start);
}

/// The interrupt that is served has ended.
pub(super) fn end_of_interrupt() {
    // SAFETY: called by the handler.
    with(|apic| unsafe { apic.end_of_interrupt() });
}

/// Interrupts another CPU.
pub(crate) fn interrupt(cpu: usize, vector: u8) {
    let to = (percpu::cpus()[cpu].apic.load(Relaxed) as u32) << number_at();
    // SAFETY: the handler of the interrupt is there.
    with(|apic| unsafe { apic.send_ipi(vector, to) });
}

/// Starts the CPU whose local APIC has this number: it begins at the page `start` in real mode.
pub(crate) fn start_cpu(number: u32, start: u8) {
    let to = number << number_at();
    // SAFETY: the code is there.
    with(|apic| unsafe { apic.send_init_ipi(to) });
    let until = clock::monotonic() + 10_000_000;
    while clock::monotonic() < until {}
    // SAFETY: as above.
    with(|apic| unsafe { apic.send_sipi(start, to) });
}

/// Has a line of a PCI device interrupt this CPU: active high, for as long as the device asks, as
/// the firmware of QEMU wires them. Called by one thread.
pub(crate) fn route(line: u8, vector: u8) {
    let mut entry = RedirectionTableEntry::default();
    entry.set_mode(IrqMode::Fixed);
    entry.set_flags(IrqFlags::LEVEL_TRIGGERED);
    entry.set_vector(vector);
    entry.set_dest(percpu::this().apic.load(Relaxed) as u8);
    // SAFETY: its registers, in the direct map; nothing else uses them meanwhile.
    let mut io = unsafe { IoApic::new(direct_map(IO_BASE).addr() as u64) };
    // SAFETY: the handler of the interrupt is there.
    unsafe { io.set_table_entry(line, entry) };
}
