//! User memory by a page walk: the conformance suite, and what is brought in when.

use std::cell::{Cell, UnsafeCell};
use std::ops::Range;

use faultless_usercopy::conformance::{
    COPIES, Layout, MovingLayout, Present, Sweep, check_exact, check_moving,
};
use faultless_usercopy::{
    MayFault, PROBE_STEP, PageWalk, UserAddr, UserMemory, UserSlice, WalkAccess, WalkedUser,
    clear_user, copy_from_user, copy_from_user_atomic, copy_to_user, copy_to_user_atomic,
};

const BASE: usize = 0x40_0000;
const PAGES: usize = 5;

/// What an entry of the page table says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    /// The page is not there, and gets there when it is asked for.
    Absent,
    /// There is none.
    None,
    Read,
    Write,
}

/// The frames of all pages.
type Frames = [Box<UnsafeCell<[u8; PROBE_STEP]>>; PAGES];

/// What all pages do before each look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pages {
    Stay,
    /// They get other frames, as by a migration or a collapse.
    Move,
}

/// What a frame holds that is no page's any more.
const STALE: u8 = 0xdb;

/// Frames that are neighbours in user space and not in memory, and a table.
struct Table {
    /// Those of the pages, and those that they move to.
    frames: [Frames; 2],
    /// Which of the two are the pages'.
    now: Cell<usize>,
    pages: Pages,
    entries: [Cell<Entry>; PAGES],
    resolved: Cell<usize>,
    armed: Cell<Option<(usize, Present)>>,
}

impl Table {
    fn new(entries: [Entry; PAGES]) -> WalkedUser<Self> {
        Self::with(entries, Pages::Stay)
    }

    fn with(entries: [Entry; PAGES], pages: Pages) -> WalkedUser<Self> {
        let frames = || std::array::from_fn(|_| Box::new(UnsafeCell::new([0; PROBE_STEP])));
        WalkedUser::new(Self {
            frames: [frames(), frames()],
            now: Cell::new(0),
            pages,
            entries: entries.map(Cell::new),
            resolved: Cell::new(0),
            armed: Cell::new(None),
        })
    }

    /// The third and fourth page of the suite.
    fn present(&self, present: Present) {
        let entry = |is_there| if is_there { Entry::Write } else { Entry::None };
        self.entries[2].set(entry(present.first()));
        self.entries[3].set(entry(present.second()));
    }

    /// Where a page is.
    fn frame(&self, page: usize) -> *mut u8 {
        self.frames[self.now.get()][page].get().cast()
    }

    /// Gives all pages other frames, with the same bytes.
    fn move_pages(&self) {
        let old: Vec<*mut u8> = (0..PAGES).map(|page| self.frame(page)).collect();
        self.now.set(1 - self.now.get());
        for (page, old) in old.into_iter().enumerate() {
            // SAFETY: two frames, in neither of which anything is under way.
            unsafe { self.frame(page).copy_from_nonoverlapping(old, PROBE_STEP) };
            // SAFETY: as above.
            unsafe { old.write_bytes(STALE, PROBE_STEP) };
        }
    }

    /// Each byte of a range: its address in the kernel.
    fn bytes(&self, address: UserAddr, len: usize) -> impl Iterator<Item = *mut u8> {
        (address.get() - BASE..address.get() - BASE + len)
            .map(|at| self.frame(at / PROBE_STEP).wrapping_add(at % PROBE_STEP))
    }
}

// SAFETY: the frames stay as long as the table; one thread uses it.
unsafe impl PageWalk for Table {
    fn user_range(&self) -> Range<usize> {
        BASE..BASE + PAGES * PROBE_STEP
    }

    fn with_page(&self, page: UserAddr, access: WalkAccess, body: &mut dyn FnMut(*mut u8)) -> bool {
        // Another CPU may change a mapping before each look.
        if let Some((points, after)) = self.armed.get() {
            self.armed.set(points.checked_sub(1).map(|points| (points, after)));
            if points == 0 {
                self.present(after);
            }
        }
        if self.pages == Pages::Move {
            self.move_pages();
        }
        let number = (page.get() - BASE) / PROBE_STEP;
        let is_there = match self.entries[number].get() {
            Entry::Write => true,
            Entry::Read => access == WalkAccess::Read,
            Entry::Absent | Entry::None => false,
        };
        if is_there {
            body(self.frame(number));
        }
        is_there
    }

    fn resolve(&self, _token: &mut MayFault, address: UserAddr, _access: WalkAccess) -> bool {
        let entry = &self.entries[(address.get() - BASE) / PROBE_STEP];
        let is_absent = entry.get() == Entry::Absent;
        if is_absent {
            entry.set(Entry::Write);
            self.resolved.set(self.resolved.get() + 1);
        }
        is_absent
    }
}

/// The table of the suite.
struct FivePages(WalkedUser<Table>);

impl FivePages {
    const ENTRIES: [Entry; PAGES] =
        [Entry::Write, Entry::None, Entry::Write, Entry::Write, Entry::Read];

    fn new() -> Self {
        Self(Table::new(Self::ENTRIES))
    }

    /// Pages that move all the time.
    fn moving() -> Self {
        Self(Table::with(Self::ENTRIES, Pages::Move))
    }
}

impl Layout for FivePages {
    type User = WalkedUser<Table>;

    fn user(&self) -> &WalkedUser<Table> {
        &self.0
    }

    fn page_size(&self) -> usize {
        PROBE_STEP
    }

    fn base(&self) -> UserAddr {
        UserAddr::new(BASE)
    }

    fn peek(&self, address: UserAddr, bytes: &mut [u8]) {
        let len = bytes.len();
        for (byte, at) in bytes.iter_mut().zip(self.0.walk().bytes(address, len)) {
            // SAFETY: a byte of a frame.
            *byte = unsafe { at.read() };
        }
    }

    fn poke(&self, address: UserAddr, bytes: &[u8]) {
        for (byte, at) in bytes.iter().zip(self.0.walk().bytes(address, bytes.len())) {
            // SAFETY: as above.
            unsafe { at.write(*byte) };
        }
    }
}

impl MovingLayout for FivePages {
    fn set(&self, pages: Present) {
        self.0.walk().present(pages);
    }

    fn arm(&self, point: usize, after: Present) {
        self.0.walk().armed.set(Some((point, after)));
    }

    fn disarm(&self) -> bool {
        self.0.walk().armed.take().is_none()
    }
}

fn may_fault() -> MayFault {
    // SAFETY: no page lock exists here.
    unsafe { MayFault::assert() }
}

#[test]
fn copies_by_a_walk_are_exact_at_every_offset_and_length() {
    if let Err(failure) = check_exact(&FivePages::new(), &mut may_fault()) {
        panic!("{failure}");
    }
}

#[test]
fn copies_by_a_walk_count_what_they_stored_while_mappings_change() {
    let checked = check_moving(&FivePages::new(), &mut may_fault(), &COPIES, Sweep::THOROUGH);
    if let Err(failure) = checked {
        panic!("{failure}");
    }
}

#[test]
fn copies_by_a_walk_follow_pages_that_move_to_other_frames() {
    let sweep = Sweep { lengths: &[2, 17, 64, 79], in_first: &[0, 1, 15, 40] };
    if let Err(failure) = check_moving(&FivePages::moving(), &mut may_fault(), &COPIES, sweep) {
        panic!("{failure}");
    }
    // More than two pages, each of which moves before each look.
    let user = Table::with([Entry::Write; PAGES], Pages::Move);
    let data: Vec<u8> = (0..4 * PROBE_STEP).map(|at| (at % 251) as u8).collect();
    let slice = UserSlice::new(&user, UserAddr::new(BASE + 77), data.len()).expect("in range");
    let mut got = vec![0; data.len()];
    copy_to_user_atomic(&user, slice, &data).expect("all are there");
    copy_from_user_atomic(&user, &mut got, slice).expect("all are there");
    assert_eq!(got, data);
}

#[test]
fn a_faulting_copy_brings_each_page_in_once_and_an_atomic_one_none() {
    let user = Table::new([Entry::Write, Entry::Absent, Entry::Absent, Entry::Absent, Entry::None]);
    let (len, mut token) = (4 * PROBE_STEP, may_fault());
    let slice = UserSlice::new(&user, UserAddr::new(BASE), len).expect("in range");
    let data: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
    let mut got = vec![0; len];

    let fault = copy_to_user_atomic(&user, slice, &data).expect_err("pages are absent");
    assert_eq!((fault.completed, user.walk().resolved.get()), (PROBE_STEP, 0));
    let fault = copy_from_user_atomic(&user, &mut got, slice).expect_err("pages are absent");
    assert_eq!((fault.completed, user.walk().resolved.get()), (PROBE_STEP, 0));

    copy_to_user(&user, &mut token, slice, &data).expect("all can be brought in");
    assert_eq!(user.walk().resolved.get(), 3);
    copy_from_user_atomic(&user, &mut got, slice).expect("all are there");
    assert_eq!(got, data);
    clear_user(&user, &mut token, slice).expect("all are there");
    copy_from_user(&user, &mut token, &mut got, slice).expect("all are there");
    assert!(got.iter().all(|byte| *byte == 0));
}

#[test]
fn a_fault_in_reaches_the_pages_up_to_one_that_is_not_there() {
    let user = Table::new([Entry::Absent, Entry::Absent, Entry::Read, Entry::Write, Entry::None]);
    let mut token = may_fault();
    let from = UserAddr::new(BASE + 100);
    let slice = UserSlice::new(&user, from, 5 * PROBE_STEP - 100).expect("in range");
    assert_eq!(
        user.fault_in_writeable(&mut token, slice),
        3 * PROBE_STEP,
        "up to the read-only one"
    );
    assert_eq!(user.fault_in_readable(&mut token, slice), PROBE_STEP, "up to the last one");
    assert_eq!(user.walk().resolved.get(), 2);
}
