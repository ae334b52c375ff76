//! Interrupts: what is done.
#![forbid(unsafe_code)]

use crate::arch::trap::TrapFrame;
use crate::arch::vectors::{DISK, RESCHEDULE, SHOOTDOWN, SPURIOUS, TIMER};
use crate::arch::{apic, percpu, shootdown};
use crate::disk;
use crate::files::console_tick;
use crate::sched;
use crate::selftest::watchdog;

/// An interrupt, with interrupts off. Sleeps not.
pub(super) fn serve(frame: &TrapFrame) {
    match frame.vector as u8 {
        TIMER => {
            apic::end_of_interrupt();
            sched::tick();
            if percpu::number() == 0 {
                console_tick();
                watchdog::tick();
            }
        }
        RESCHEDULE => {
            apic::end_of_interrupt();
            sched::preempt();
        }
        SHOOTDOWN => {
            shootdown::answer();
            apic::end_of_interrupt();
        }
        DISK => {
            disk::interrupted();
            apic::end_of_interrupt();
        }
        // It has no end.
        SPURIOUS => {}
        _ => apic::end_of_interrupt(),
    }
}
