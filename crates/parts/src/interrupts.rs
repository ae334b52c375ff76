//! [`InterruptsOff`]: short locks that keep interrupts away, and preemption with them.
//!
//! Neighbour: [`SyncFamily`], which names the locks of a kernel. Words and fences are those of
//! [`CoreSync`]. The unsafe code is the promise that the locks exclude.
use core::fmt;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicU32, Ordering};

use faultless_page::{ConstSync, CoreSync, Initial, Spin, SyncFamily};

/// How this kernel turns the interrupts of the current CPU off and on again.
///
/// While they are off the CPU runs the current thread and nothing else: no handler, and no other
/// thread. (In a kernel whose preemption does not come by an interrupt, the two calls turn
/// preemption off and on too.)
///
/// The trait is safe: a broken one can hang a CPU, and the locks exclude all the same.
pub trait InterruptControl: 'static {
    /// What is to be restored: on x86-64 the flags, on RISC-V `sstatus.SIE`, on AArch64 `DAIF`.
    type State: Copy;

    /// Turns interrupts off on this CPU; how they were before. Nests: a call with interrupts off
    /// leaves them off, and says so.
    fn save_and_disable() -> Self::State;

    /// Sets interrupts to what they were at the matching
    /// [`save_and_disable`](Self::save_and_disable), on the same CPU.
    fn restore(state: Self::State);
}

/// A [`SyncFamily`] whose short locks turn interrupts off while they are held.
///
/// For kernels with preemption, and for those where an interrupt handler takes a short lock of the
/// cache or of this crate: by [`Frames::release`](faultless_page::Frames::release) when a device's
/// pin ends, or by [`Wait::wake`](faultless_page::Wait::wake). Otherwise a handler, or a thread
/// that preempts, may spin for a lock whose holder it keeps from running.
///
/// A short lock is held for a bounded number of instructions. While a lock is contended, its takers
/// on other CPUs spin with interrupts off for that time too.
///
/// ```
/// use faultless_page::{Spin, SyncFamily};
/// use faultless_parts::{InterruptControl, InterruptsOff};
///
/// # mod cpu {
/// #     pub fn read_flags() -> usize { 0x200 }
/// #     pub fn disable_interrupts() {}
/// #     pub fn enable_interrupts() {}
/// # }
/// struct MyCpu;
///
/// impl InterruptControl for MyCpu {
///     type State = bool;
///     fn save_and_disable() -> bool {
///         let were_on = cpu::read_flags() & 0x200 != 0;
///         cpu::disable_interrupts();
///         were_on
///     }
///     fn restore(were_on: Self::State) {
///         if were_on {
///             cpu::enable_interrupts();
///         }
///     }
/// }
///
/// // In `impl Kernel`: `type Sync = InterruptsOff<MyCpu>;`
/// type Lock = <InterruptsOff<MyCpu> as SyncFamily>::Spin<u32>;
/// let lock = Lock::new(1);
/// *lock.lock() += 1;
/// assert_eq!(*lock.lock(), 2);
/// ```
pub struct InterruptsOff<C>(PhantomData<fn() -> C>);

// SAFETY: the words and fences are those of `CoreSync`, and the locks those of `spin`, whatever `C`
// does.
unsafe impl<C: InterruptControl> SyncFamily for InterruptsOff<C> {
    #[cfg(target_has_atomic = "64")]
    type Word64 = core::sync::atomic::AtomicU64;
    #[cfg(not(target_has_atomic = "64"))]
    type Word64 = faultless_page::LockedWord<InterruptsOffLock<C, u64>>;
    type Word32 = AtomicU32;
    type Spin<T: Send> = InterruptsOffLock<C, T>;
    #[inline(always)]
    fn fence(order: Ordering) {
        CoreSync::fence(order);
    }
}

impl<C: InterruptControl> ConstSync for InterruptsOff<C> {
    type Free<T: Send + Initial> = InterruptsOffLock<C, T>;
}

impl<C, T: Initial> Initial for InterruptsOffLock<C, T> {
    const INITIAL: Self = Self { lock: spin::Mutex::INITIAL, control: PhantomData };
}

/// A short lock of [`InterruptsOff`].
pub struct InterruptsOffLock<C, T> {
    pub(crate) lock: spin::Mutex<T>,
    control: PhantomData<fn() -> C>,
}

/// A held [`InterruptsOffLock`]. Dropping it unlocks, and then restores the state of the
/// interrupts. Guards are dropped in the reverse order of their locks; the guard stays on the CPU
/// where it was made, so it is not `Send`.
pub struct InterruptsOffGuard<'a, C: InterruptControl, T> {
    // Fields are dropped in the order of their declaration: the lock is free before a handler runs.
    value: spin::MutexGuard<'a, T>,
    _interrupts: Saved<C>,
}

/// Restores the state of the interrupts when dropped.
struct Saved<C: InterruptControl> {
    state: C::State,
    on_this_cpu: PhantomData<*const ()>,
}

impl<C: InterruptControl> Saved<C> {
    fn save_and_disable() -> Self {
        Self { state: C::save_and_disable(), on_this_cpu: PhantomData }
    }
}

impl<C: InterruptControl> Drop for Saved<C> {
    fn drop(&mut self) {
        C::restore(self.state);
    }
}

impl<C, T> InterruptsOffLock<C, T> {
    /// A free lock around `value`, for a `static` of the kernel's own.
    #[must_use]
    pub const fn new(value: T) -> Self {
        Self { lock: spin::Mutex::new(value), control: PhantomData }
    }
}

impl<C: InterruptControl, T> InterruptsOffLock<C, T> {
    /// Turns interrupts off, and spins until the lock is free.
    #[inline]
    pub fn lock(&self) -> InterruptsOffGuard<'_, C, T> {
        // Before the lock: a handler that comes in between would find it held.
        let interrupts = Saved::save_and_disable();
        InterruptsOffGuard { value: self.lock.lock(), _interrupts: interrupts }
    }
}

impl<C: InterruptControl, T: Send> Spin<T> for InterruptsOffLock<C, T> {
    type Guard<'a>
        = InterruptsOffGuard<'a, C, T>
    where
        T: 'a;

    #[inline]
    fn new(value: T) -> Self {
        Self::new(value)
    }

    #[inline]
    fn lock(&self) -> InterruptsOffGuard<'_, C, T> {
        self.lock()
    }
}

impl<C: InterruptControl, T> Deref for InterruptsOffGuard<'_, C, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<C: InterruptControl, T> DerefMut for InterruptsOffGuard<'_, C, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

impl<C> fmt::Debug for InterruptsOff<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InterruptsOff")
    }
}

impl<C, T> fmt::Debug for InterruptsOffLock<C, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = self.lock.is_locked();
        f.debug_struct("InterruptsOffLock").field("held", &held).finish_non_exhaustive()
    }
}

impl<C: InterruptControl, T: fmt::Debug> fmt::Debug for InterruptsOffGuard<'_, C, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}
