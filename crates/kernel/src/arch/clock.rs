//! Time: the time-stamp counter, measured once against the interval timer, and the day from the
//! real-time clock.

use core::arch::x86_64::_rdtsc;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

use x86_64::instructions::port::Port;

const NANOSECONDS: u64 = 1_000_000_000;

/// How long the measurement takes, as ticks of the interval timer (1,193,182 Hz), and in
/// nanoseconds.
const TICKS: u16 = 11_932;
const MEASURED: u64 = 10_000_153;

/// The counter when the kernel began.
static START: AtomicU64 = AtomicU64::new(0);
/// Counts in [`MEASURED`] nanoseconds.
static COUNTS: AtomicU64 = AtomicU64::new(1);
/// Nanoseconds from 1970 to the start.
static EPOCH: AtomicU64 = AtomicU64::new(0);

/// One measurement.
struct Measured {
    /// What the time-stamp counter counted.
    counts: u64,
    /// By how much that may be too much.
    doubt: u64,
    /// What the other counter counted.
    other: u32,
}

/// The part of a measurement that may be in doubt, and how often it is tried for that.
const DOUBT: u64 = 100;
const TRIES: usize = 50;

/// Measures the time-stamp counter, and what `count` counts down meanwhile. Interrupts are off.
///
/// A virtual CPU may stand still between two instructions. A measurement in which it did where the
/// timer begins or ends is made again: the clock would be too slow for the whole run.
pub(crate) fn init(count: impl Fn() -> u32) -> u32 {
    EPOCH.store(seconds_since_1970() * NANOSECONDS, Relaxed);
    START.store(counter(), Relaxed);
    let mut best = measure(&count);
    for _ in 1..TRIES {
        if best.doubt < best.counts / DOUBT {
            break;
        }
        let again = measure(&count);
        if again.doubt < best.doubt {
            best = again;
        }
    }
    COUNTS.store((best.counts - best.doubt / 2).max(1), Relaxed);
    best.other
}

fn measure(count: &impl Fn() -> u32) -> Measured {
    let mut gate = Port::<u8>::new(0x61);
    // SAFETY: channel 2 of the interval timer, which nothing else uses: counts with its gate open.
    let control = unsafe { gate.read() } & !3;
    // SAFETY: as above; the speaker stays off.
    unsafe { gate.write(control) };
    for (port, value) in [(0x43, 0xb0), (0x42, TICKS as u8), (0x42, (TICKS >> 8) as u8)] {
        // SAFETY: as above: mode 0, both bytes of the count.
        unsafe { Port::<u8>::new(port).write(value) };
    }
    let closed = counter();
    // SAFETY: as above.
    unsafe { gate.write(control | 1) };
    let before = count();
    let opened = counter();
    let mut running = opened;
    loop {
        let look = counter();
        // SAFETY: as above.
        let is_over = unsafe { gate.read() } & 0x20 != 0;
        let after = count();
        let end = counter();
        if is_over {
            let doubt = (opened - closed) + (end - running);
            return Measured { counts: end - closed, doubt, other: before.wrapping_sub(after) };
        }
        running = look;
    }
}

/// The part of a second that [`init`] measures.
pub(crate) const MEASUREMENTS_PER_SECOND: u64 = NANOSECONDS / MEASURED;

fn counter() -> u64 {
    // SAFETY: every x86-64 CPU has it.
    unsafe { _rdtsc() }
}

/// Nanoseconds since the kernel began.
pub(crate) fn monotonic() -> u64 {
    let counts = counter().saturating_sub(START.load(Relaxed));
    (u128::from(counts) * u128::from(MEASURED) / u128::from(COUNTS.load(Relaxed))) as u64
}

/// Nanoseconds since 1970.
pub(crate) fn real() -> u64 {
    EPOCH.load(Relaxed) + monotonic()
}

/// Sets the time since 1970, which is none before the start.
pub(crate) fn set_real(time: u64) {
    EPOCH.store(time.saturating_sub(monotonic()), Relaxed);
}

/// The time of the monotonic clock at a time since 1970; 0 for one before the start.
pub(crate) fn of_real(time: u64) -> u64 {
    time.saturating_sub(EPOCH.load(Relaxed))
}

/// What the real-time clock says, in UTC. Read until two readings agree: it may change meanwhile.
fn seconds_since_1970() -> u64 {
    let mut before = registers();
    loop {
        let now = registers();
        if now == before {
            break;
        }
        before = now;
    }
    let [second, minute, hour, day, month, year] = before.map(|bcd| {
        let bcd = u64::from(bcd);
        (bcd >> 4) * 10 + (bcd & 15)
    });
    // Days from 1970, by months that begin in March.
    let (year, month) = (2000 + year - u64::from(month < 3), (month + 9) % 12);
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    ((days - 719_468) * 24 + hour) * 3600 + minute * 60 + second
}

/// Second, minute, hour, day, month and year of the century, in decimal digits of 4 bits.
fn registers() -> [u8; 6] {
    [0, 2, 4, 7, 8, 9].map(|register| {
        // SAFETY: selects a register of the real-time clock.
        unsafe { Port::<u8>::new(0x70).write(register) };
        // SAFETY: reads it.
        unsafe { Port::<u8>::new(0x71).read() }
    })
}
