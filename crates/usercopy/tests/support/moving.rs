//! Real pages that are unmapped and mapped during a copy: in the handler of a fault, or of a single
//! step (`stepping`).
//!
//! A signal handler makes the change, so its state is in statics, and a mutex admits one layout at
//! a time.

use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use faultless_usercopy::arch::AccessWindow;
use faultless_usercopy::conformance::{Layout, MovingLayout, Present};
use faultless_usercopy::{MayFault, UserAddr, UserMemory};

use super::{Pages, page_size};

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Address of the first of the two pages; 0 if no layout has them.
static FIRST: AtomicUsize = AtomicUsize::new(0);

/// Index in [`Present::ALL`] of what is there now, and of what is after the change.
static NOW: AtomicUsize = AtomicUsize::new(0);
static AFTER: AtomicUsize = AtomicUsize::new(0);

/// Points before that of the change, or one of the following.
static POINTS_LEFT: AtomicUsize = AtomicUsize::new(UNARMED);
const UNARMED: usize = usize::MAX;
const REACHED: usize = usize::MAX - 1;

/// A point of the copy that runs, called in signal handlers. Returns whether no later point
/// matters: the change has been made, or none is armed.
pub(crate) fn point() -> bool {
    match POINTS_LEFT.load(Relaxed) {
        UNARMED | REACHED => return true,
        0 => {
            POINTS_LEFT.store(REACHED, Relaxed);
            set(AFTER.load(Relaxed));
            return true;
        }
        left => POINTS_LEFT.store(left - 1, Relaxed),
    }
    false
}

/// Whether the address lies in one of the two pages, and that page is there now.
pub(crate) fn is_accessible(address: usize) -> bool {
    let first = FIRST.load(Relaxed);
    let now = Present::ALL[NOW.load(Relaxed)];
    match address.wrapping_sub(first) / page_size() {
        _ if first == 0 => false,
        0 => now.first(),
        1 => now.second(),
        _ => false,
    }
}

fn set(pages: usize) {
    let before = Present::ALL[NOW.swap(pages, Relaxed)];
    let after = Present::ALL[pages];
    let first = FIRST.load(Relaxed);
    let protect = |address: usize, was: bool, is: bool| {
        let protection = if is { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_NONE };
        let start = ptr::with_exposed_provenance_mut(address);
        // SAFETY: a page of the layout, to which no reference exists.
        if was != is && unsafe { libc::mprotect(start, page_size(), protection) } != 0 {
            std::process::abort();
        }
    };
    protect(first, before.first(), after.first());
    protect(first + page_size(), before.second(), after.second());
}

fn index(pages: Present) -> usize {
    Present::ALL.iter().position(|&one| one == pages).expect("one of all")
}

/// The five pages, of which two can be unmapped during a copy, and the user memory `U` that
/// accesses them.
pub(crate) struct Moving<U, W> {
    pages: Pages<W>,
    user: U,
    _one_at_a_time: MutexGuard<'static, ()>,
}

impl<U: UserMemory<Token = MayFault>, W: AccessWindow> Moving<U, W> {
    /// The points are where [`point`] is called. `user` gets the addresses.
    pub(crate) fn new(user: impl FnOnce(&Pages<W>) -> U) -> Self {
        let guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let pages = Pages::for_suite();
        POINTS_LEFT.store(UNARMED, Relaxed);
        NOW.store(index(Present::Both), Relaxed);
        FIRST.store(pages.address(2).get(), Relaxed);
        Self { user: user(&pages), pages, _one_at_a_time: guard }
    }
}

impl<U, W> Drop for Moving<U, W> {
    fn drop(&mut self) {
        FIRST.store(0, Relaxed);
    }
}

impl<U: UserMemory<Token = MayFault>, W: AccessWindow> Layout for Moving<U, W> {
    type User = U;

    fn user(&self) -> &U {
        &self.user
    }

    fn page_size(&self) -> usize {
        page_size()
    }

    fn base(&self) -> UserAddr {
        self.pages.base()
    }

    fn peek(&self, addr: UserAddr, bytes: &mut [u8]) {
        self.pages.peek(addr, bytes);
    }

    fn poke(&self, addr: UserAddr, bytes: &[u8]) {
        self.pages.poke(addr, bytes);
    }
}

impl<U: UserMemory<Token = MayFault>, W: AccessWindow> MovingLayout for Moving<U, W> {
    fn set(&self, pages: Present) {
        set(index(pages));
    }

    fn arm(&self, point: usize, after: Present) {
        AFTER.store(index(after), Relaxed);
        POINTS_LEFT.store(point, Relaxed);
    }

    fn disarm(&self) -> bool {
        POINTS_LEFT.swap(UNARMED, Relaxed) == REACHED
    }
}
