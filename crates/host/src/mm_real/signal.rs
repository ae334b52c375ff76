//! SIGSEGV as a page-fault exception.
//!
//! The handler is installed once for the process and works for all machines in it: the exception
//! table says whether the instruction is an access to user memory and whether it is atomic, a
//! thread-local says whose fault handler resolves it. It runs on the faulting thread, at an
//! instruction that is known to be a copy, so it may do what any function may: lock, sleep,
//! allocate. Any other SIGSEGV is handed back to the handler that was there before.
//!
//! A kernel under test may bring its own trap entry: [`on_trap`] gives it the page faults that the
//! thread takes outside of [`with_handler`], with the instruction at which each has come.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::ffi::{c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::OnceLock;

use faultless_usercopy::extable::{Entry, Kind, Table};

use crate::mmu::{Access, Handler, Outcome, UserFault};

/// The access that the thread is making.
struct Current<'a> {
    handler: &'a dyn Handler,
    access: Access,
    fault: Cell<Option<UserFault>>,
    /// What a panic in the handler carried: it must not unwind through the signal frame, so it is
    /// raised again when the copy has returned.
    panic: RefCell<Option<Box<dyn Any + Send>>>,
}

/// A page fault, as the trap entry of a kernel sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trap {
    /// The instruction that has faulted. The handler sets it to where the thread goes on.
    pub instruction: usize,
    /// The address of the access.
    pub address: usize,
    /// What the instruction wanted. `None` where the system does not say: everywhere but on x86-64.
    pub access: Option<Access>,
}

/// What a trap handler says of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trapped {
    /// The thread goes on at [`Trap::instruction`].
    Handled,
    /// No access to user memory, or one that must not be: the process ends as without this crate.
    Bug,
}

/// The trap entry of a thread. It runs on the thread's stack and may sleep. A panic aborts the
/// process: it cannot unwind through the signal frame.
pub type TrapHandler = fn(&mut Trap) -> Trapped;

thread_local! {
    static CURRENT: Cell<*const Current<'static>> = const { Cell::new(std::ptr::null()) };
    static ON_TRAP: Cell<Option<TrapHandler>> = const { Cell::new(None) };
}

struct Installed {
    table: Table<'static>,
    before: libc::sigaction,
}

static INSTALLED: OnceLock<Installed> = OnceLock::new();

/// Installs the handler, the first time. [`RealMmu`](super::RealMmu) does so by itself.
pub fn install() {
    INSTALLED.get_or_init(|| {
        let mut action = default_action();
        action.sa_sigaction =
            on_segv as extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_NODEFER;
        Installed { table: Table::of_image(), before: exchange(&action) }
    });
}

/// From now on `handler` takes the page faults of the calling thread, wherever they come, except
/// those of an access by [`Mmu::access`](crate::mmu::Mmu::access). The exception table is not asked
/// then: that is for the handler.
pub fn on_trap(handler: TrapHandler) {
    install();
    ON_TRAP.set(Some(handler));
}

/// Runs `copy`; its faults go to `handler`. `copy` returns the bytes left.
pub(super) fn with_handler(
    handler: &dyn Handler,
    access: Access,
    copy: impl FnOnce() -> usize,
) -> Outcome {
    let current = Current { handler, access, fault: Cell::new(None), panic: RefCell::new(None) };
    // Only the lifetime is forgotten: the pointer is taken away again below, before `current` dies.
    let before = CURRENT.replace((&raw const current).cast());
    // The copy cannot unwind: it is assembly, and the handler keeps its panics.
    let left = copy();
    CURRENT.set(before);
    if let Some(panic) = current.panic.take() {
        resume_unwind(panic);
    }
    Outcome { left, fault: current.fault.get() }
}

fn default_action() -> libc::sigaction {
    // SAFETY: a `sigaction` is integers and addresses, for all of which zero is a value.
    unsafe { std::mem::zeroed() }
}

fn exchange(action: &libc::sigaction) -> libc::sigaction {
    let mut before = default_action();
    // SAFETY: both point to a `sigaction`; the handler in it has the signature that its flags say.
    let result = unsafe { libc::sigaction(libc::SIGSEGV, action, &raw mut before) };
    assert_eq!(result, 0, "sigaction: {}", std::io::Error::last_os_error());
    before
}

extern "C" fn on_segv(_signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let errno = errno();
    // SAFETY: the system passes a valid record.
    let info = unsafe { &*info };
    // SAFETY: the record is one of SIGSEGV, which has an address.
    let addr = unsafe { info.si_addr() }.addr();
    // SAFETY: the system passes the context that execution goes on with when the handler returns.
    let context = unsafe { &mut *context.cast::<libc::ucontext_t>() };
    match ON_TRAP.get().filter(|_| CURRENT.get().is_null()) {
        Some(handler) => trapped(handler, addr, context),
        None => user_access(addr, context),
    }
    set_errno(errno);
}

/// A fault for the thread's own trap entry.
fn trapped(handler: TrapHandler, address: usize, context: &mut libc::ucontext_t) {
    let access = access(context);
    let ip = ip(context);
    let mut trap = Trap { instruction: *ip as usize, address, access };
    match handler(&mut trap) {
        Trapped::Handled => *ip = trap.instruction as Ip,
        Trapped::Bug => hand_back(),
    }
}

/// A fault of an access by an MMU of this crate, if it is one.
fn user_access(addr: usize, context: &mut libc::ucontext_t) {
    let ip = ip(context);
    match INSTALLED.get().and_then(|installed| installed.table.find(*ip as usize)) {
        Some(entry) => {
            if !resolved(entry, addr) {
                *ip = entry.fixup() as Ip;
            }
        }
        None => hand_back(),
    }
}

/// Ends the access to user memory at which `context` stands, as a fault that cannot be resolved
/// does. Whether there is one. For handlers of other signals, such as SIGBUS, which call it with
/// the context that the system passed.
pub fn end_access(context: &mut libc::ucontext_t) -> bool {
    let ip = ip(context);
    let entry = INSTALLED.get().and_then(|installed| installed.table.find(*ip as usize));
    if let Some(entry) = entry {
        *ip = entry.fixup() as Ip;
    }
    entry.is_some()
}

/// Whether the fault has been resolved, so that the instruction can run again.
fn resolved(entry: &Entry, addr: usize) -> bool {
    let current = CURRENT.get();
    if current.is_null() {
        return false;
    }
    // SAFETY: not null, so set by a `with_handler` of this thread that has not returned: it is
    // below us on the stack.
    let current = unsafe { &*current };
    // A fault inside the fault handler is not this access's.
    CURRENT.set(std::ptr::null());
    let result = catch_unwind(AssertUnwindSafe(|| match entry.kind() {
        Kind::Atomic => {
            current.handler.atomic_fault(addr);
            Err(None)
        }
        Kind::Faulting => current.handler.fault(addr, current.access).map_err(Some),
    }));
    CURRENT.set(current);
    match result {
        Ok(Ok(())) => return true,
        Ok(Err(fault)) => current.fault.set(fault),
        Err(panic) => *current.panic.borrow_mut() = Some(panic),
    }
    false
}

/// Not ours: the instruction runs again, under the old handler.
fn hand_back() {
    match INSTALLED.get() {
        Some(installed) => drop(exchange(&installed.before)),
        None => drop(exchange(&default_action())),
    }
}

fn errno_location() -> *mut c_int {
    // SAFETY: no precondition.
    unsafe { libc::__errno_location() }
}

fn errno() -> c_int {
    // SAFETY: the system's own variable of this thread.
    unsafe { errno_location().read() }
}

fn set_errno(value: c_int) {
    // SAFETY: the system's own variable of this thread.
    unsafe { errno_location().write(value) };
}

#[cfg(target_arch = "x86_64")]
type Ip = i64;
#[cfg(target_arch = "aarch64")]
type Ip = u64;
#[cfg(target_arch = "riscv64")]
type Ip = u64;

/// The saved instruction pointer.
#[cfg(target_arch = "x86_64")]
fn ip(context: &mut libc::ucontext_t) -> &mut Ip {
    &mut context.uc_mcontext.gregs[libc::REG_RIP as usize]
}

/// The saved instruction pointer.
#[cfg(target_arch = "aarch64")]
fn ip(context: &mut libc::ucontext_t) -> &mut Ip {
    &mut context.uc_mcontext.pc
}

/// The saved instruction pointer.
#[cfg(target_arch = "riscv64")]
fn ip(context: &mut libc::ucontext_t) -> &mut Ip {
    &mut context.uc_mcontext.__gregs[libc::REG_PC]
}

/// What the instruction wanted, by the error code of the page fault.
#[cfg(target_arch = "x86_64")]
fn access(context: &libc::ucontext_t) -> Option<Access> {
    const WRITE: Ip = 1 << 1;
    let error = context.uc_mcontext.gregs[libc::REG_ERR as usize];
    Some(if error & WRITE == 0 { Access::Read } else { Access::Write })
}

/// What the instruction wanted: the context does not say.
#[cfg(not(target_arch = "x86_64"))]
fn access(_context: &libc::ucontext_t) -> Option<Access> {
    None
}
