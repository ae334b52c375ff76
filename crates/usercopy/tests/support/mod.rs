//! Real user memory for the tests: pages of this process, a SIGSEGV handler that asks the crate's
//! own exception table, and optionally pages that the handler brings in, as a kernel's fault
//! handler would.
#![allow(dead_code)] // every test binary uses a part of it

#[cfg(target_arch = "x86_64")]
pub(crate) mod loops_of_old;
pub(crate) mod moving;
pub(crate) mod planted;
#[cfg(target_arch = "x86_64")]
pub(crate) mod stepping;

use std::mem::zeroed;
use std::ops::Range;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use faultless_usercopy::arch::AccessWindow;
use faultless_usercopy::conformance::Layout;
use faultless_usercopy::extable::{Resume, Table};
use faultless_usercopy::{CurrentUser, MayFault, UserAddr};
use libc::{c_int, c_void};

static TABLE: OnceLock<Table<'static>> = OnceLock::new();

/// Pages that a fault brings in: [start, end).
static LAZY: [AtomicUsize; 2] = [AtomicUsize::new(0), AtomicUsize::new(0)];

/// Faults that were resolved by bringing a page in.
pub(crate) static RESOLVED: AtomicUsize = AtomicUsize::new(0);

/// The token. No test holds a lock that the handler could take.
pub(crate) fn may_fault() -> MayFault {
    // SAFETY: as just said.
    unsafe { MayFault::assert() }
}

/// The saved program counter of a signal frame.
///
/// # Safety
/// `context` is what the kernel passed to a `SA_SIGINFO` handler that has not returned.
pub(crate) unsafe fn program_counter<'c>(context: *mut c_void) -> &'c mut usize {
    let context = context.cast::<libc::ucontext_t>();
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the caller's promise.
    let pc = unsafe { &raw mut (*context).uc_mcontext.gregs[libc::REG_RIP as usize] };
    #[cfg(target_arch = "aarch64")]
    // SAFETY: the caller's promise.
    let pc = unsafe { &raw mut (*context).uc_mcontext.pc };
    #[cfg(target_arch = "riscv64")]
    // SAFETY: the caller's promise.
    let pc = unsafe { &raw mut (*context).uc_mcontext.__gregs[0] };
    // SAFETY: a 64-bit register of the frame, which only the handler sees.
    unsafe { &mut *pc.cast::<usize>() }
}

/// The trap handler of a kernel in small.
extern "C" fn on_sigsegv(_: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the arguments of a `SA_SIGINFO` handler.
    let pc = unsafe { program_counter(context) };
    // SAFETY: as above.
    let info = unsafe { &*info };
    // SAFETY: a SIGSEGV or SIGBUS has an address.
    let address = unsafe { info.si_addr() }.addr();
    moving::point();
    let resolve = || moving::is_accessible(address) || bring_in(address);
    match TABLE.get().and_then(|table| table.resume(*pc, resolve)) {
        Some(Resume::Retry) => {}
        Some(Resume::At(fixup)) => *pc = fixup,
        // A genuine crash: the access is repeated with the default action.
        // SAFETY: async-signal-safe.
        None => unsafe {
            libc::signal(libc::SIGSEGV, libc::SIG_DFL);
        },
    }
}

/// Whether the instruction at `pc` is in the exception table.
pub(crate) fn is_registered(pc: usize) -> bool {
    TABLE.get().is_some_and(|table| table.find(pc).is_some())
}

fn bring_in(address: usize) -> bool {
    let lazy = LAZY[0].load(Ordering::Relaxed)..LAZY[1].load(Ordering::Relaxed);
    if !lazy.contains(&address) {
        return false;
    }
    let page = page_size();
    RESOLVED.fetch_add(1, Ordering::Relaxed);
    let start = ptr::with_exposed_provenance_mut::<c_void>(address & !(page - 1));
    // SAFETY: a page of a mapping that the test owns.
    unsafe { libc::mprotect(start, page, libc::PROT_READ | libc::PROT_WRITE) == 0 }
}

fn install_handler() {
    TABLE.get_or_init(|| {
        let table = Table::of_image();
        // SAFETY: all zeros is a valid `sigaction`.
        let mut action: libc::sigaction = unsafe { zeroed() };
        action.sa_sigaction = on_sigsegv as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_NODEFER;
        for signal in [libc::SIGSEGV, libc::SIGBUS] {
            // SAFETY: a handler of the right type that touches only atomics, the table and
            // mprotect.
            let result = unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) };
            assert_eq!(result, 0);
        }
        table
    });
}

pub(crate) fn page_size() -> usize {
    // SAFETY: no preconditions.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) as usize }
}

/// Pages of this process that no Rust reference ever points to.
pub(crate) struct Pages<W> {
    base: usize,
    pages: usize,
    user: CurrentUser<W>,
}

impl<W: AccessWindow> Pages<W> {
    /// `pages` read-write pages.
    pub(crate) fn new(pages: usize) -> Self {
        install_handler();
        let len = pages * page_size();
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let base = unsafe { libc::mmap(ptr::null_mut(), len, protection, flags, -1, 0) };
        assert_ne!(base, libc::MAP_FAILED);
        let base = base.expose_provenance();
        // SAFETY: the mapping is used by nothing but the copies and volatile accesses; the handler
        // is installed.
        Self { base, pages, user: unsafe { CurrentUser::new(base..base + len) } }
    }

    /// The five pages of the conformance suite.
    pub(crate) fn for_suite() -> Self {
        let pages = Self::new(5);
        pages.protect(1..2, libc::PROT_NONE);
        pages.protect(4..5, libc::PROT_READ);
        pages
    }

    pub(crate) fn user_memory(&self) -> &CurrentUser<W> {
        &self.user
    }

    pub(crate) fn address(&self, page: usize) -> UserAddr {
        UserAddr::new(self.base + page * page_size())
    }

    pub(crate) fn protect(&self, pages: Range<usize>, protection: c_int) {
        let start = self.address(pages.start).get();
        let start = ptr::with_exposed_provenance_mut(start);
        // SAFETY: pages of our own mapping, to which no reference exists.
        let result = unsafe { libc::mprotect(start, pages.len() * page_size(), protection) };
        assert_eq!(result, 0);
    }

    /// Takes the pages away until a fault brings each back. One test of the process at a time may
    /// do so.
    pub(crate) fn make_lazy(&self, pages: Range<usize>) {
        assert!(!pages.is_empty());
        LAZY[0].store(self.address(pages.start).get(), Ordering::Relaxed);
        LAZY[1].store(self.address(pages.end).get(), Ordering::Relaxed);
        RESOLVED.store(0, Ordering::Relaxed);
        self.protect(pages, libc::PROT_NONE);
    }
}

impl<W> Drop for Pages<W> {
    fn drop(&mut self) {
        // Before the addresses can be given to another test.
        let end = self.base + self.pages * page_size();
        if (self.base..end).contains(&LAZY[0].load(Ordering::Relaxed)) {
            LAZY[1].store(0, Ordering::Relaxed);
        }
        let start = ptr::with_exposed_provenance_mut(self.base);
        // SAFETY: our own mapping, to which no reference exists.
        unsafe { libc::munmap(start, self.pages * page_size()) };
    }
}

impl<W: AccessWindow> Layout for Pages<W> {
    type User = CurrentUser<W>;

    fn user(&self) -> &CurrentUser<W> {
        &self.user
    }

    fn page_size(&self) -> usize {
        page_size()
    }

    fn base(&self) -> UserAddr {
        UserAddr::new(self.base)
    }

    fn peek(&self, addr: UserAddr, bytes: &mut [u8]) {
        for (at, byte) in bytes.iter_mut().enumerate() {
            let from = ptr::with_exposed_provenance::<u8>(addr.get() + at);
            // SAFETY: an accessible page of the mapping.
            *byte = unsafe { from.read_volatile() };
        }
    }

    fn poke(&self, addr: UserAddr, bytes: &[u8]) {
        let page = page_size();
        let read_only = self.pages == 5 && addr.get() >= self.base + 4 * page;
        if read_only {
            self.protect(4..5, libc::PROT_READ | libc::PROT_WRITE);
        }
        for (at, byte) in bytes.iter().enumerate() {
            let to = ptr::with_exposed_provenance_mut::<u8>(addr.get() + at);
            // SAFETY: a writeable page of the mapping.
            unsafe { to.write_volatile(*byte) };
        }
        if read_only {
            self.protect(4..5, libc::PROT_READ);
        }
    }
}

/// The seed of a random test: `FAULTLESS_SEED`, or always the same one. Printed, so that a failure
/// can be replayed.
pub(crate) fn seed() -> u64 {
    const DEFAULT: u64 = 1;
    let seed = match std::env::var("FAULTLESS_SEED") {
        Ok(text) => text.parse().expect("FAULTLESS_SEED is a number"),
        Err(_) => DEFAULT,
    };
    println!("FAULTLESS_SEED={seed}");
    seed
}

/// A small generator (splitmix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}
