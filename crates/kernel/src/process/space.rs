//! Which page table the current thread uses, and mappings that grow.

use core::sync::atomic::Ordering::SeqCst;

use alloc::sync::Arc;

use linux_raw_sys::general as linux;

use crate::arch::{shootdown, switch};
use crate::memory::kernel_root;
use crate::process::state::{Memory, Process, current, memory};
use crate::sched;

/// Gives the process this memory; the old one goes if no other process has it.
pub(super) fn replace_memory(process: &Process, memory: &Arc<Memory>) {
    let root = memory.space().root();
    memory.enter();
    let old = process.memory.lock().replace(Arc::clone(memory));
    if let Some(old) = &old {
        old.leave();
    }
    sched::with_current(|thread| {
        thread.root.store(root, SeqCst);
        thread.clear_at_exit.store(0, SeqCst);
        thread.robust_list.store(0, SeqCst);
        thread.set_sequences(None);
        switch::set_bases(0, 0);
    });
    x86_64::instructions::interrupts::without_interrupts(|| {
        // SAFETY: the process keeps the table.
        unsafe { shootdown::activate(root) };
    });
    drop(old);
}

/// Has a mapping that grows reach down to an address that was accessed; whether it does. No lock is
/// held. May sleep.
pub(crate) fn grow_down(memory: &Memory, address: usize) -> bool {
    let Some(process) = current() else { return false };
    let limit = process.life.limits.get(linux::RLIMIT_STACK as usize).map_or(0, |limit| limit[0]);
    memory.layout.lock().grow_down(memory.space(), address, limit).is_ok()
}

/// Leaves the memory of the current process for good.
pub(super) fn leave_memory() {
    if let Ok(memory) = memory() {
        memory.leave();
    }
    sched::with_current(|thread| thread.root.store(0, SeqCst));
    x86_64::instructions::interrupts::without_interrupts(|| {
        // SAFETY: the kernel's own.
        unsafe { shootdown::activate(kernel_root()) };
    });
}
