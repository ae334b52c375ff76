//! The machine: what differs from one architecture to another.
//!
//! | what | module |
//! |---|---|
//! | a CPU's own data, its segments and control registers | `percpu`, `segments`, `control` |
//! | entry from interrupts, exceptions and system calls, and the way back | `entry`, `trap` |
//! | what the handlers do | `faults`, `interrupts` |
//! | local APIC: the timer, and calls of other CPUs | `apic`, `shootdown`, `vectors` |
//! | clocks | `clock` |
//! | switch of threads | `switch` |
//! | serial ports | `serial` |

pub(crate) mod apic;
pub(crate) mod clock;
pub(crate) mod control;
mod entry;
pub(crate) mod faults;
pub(crate) mod interrupts;
pub(crate) mod percpu;
mod segments;
pub(crate) mod serial;
pub(crate) mod shootdown;
#[cfg(feature = "bare")]
mod string;
pub(crate) mod switch;
pub(crate) mod trap;
pub(crate) mod vectors;

/// Makes this CPU, number `cpu`, ready for interrupts and for user programs. Interrupts are off.
pub(crate) fn init_cpu(cpu: usize) {
    control::init();
    segments::init(cpu);
    percpu::init(cpu);
    entry::init();
    apic::init();
}
