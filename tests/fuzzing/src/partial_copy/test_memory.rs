//! User memories whose every byte's fate is known beforehand.
//!
//! [`RealPages`]: pages of all kinds, with real faults. [`Bytes`]: no MMU, and a hole at any byte.

#![forbid(unsafe_code)]

use std::ops::Range;
use std::rc::Rc;

use arbitrary::{Arbitrary, Unstructured};
use faultless_page::PAGE_SIZE;
use faultless_usercopy::conformance::Layout;
use faultless_usercopy::conformance::scripted::Scripted;
use faultless_usercopy::{MayFault, UserAddr, UserMemory};

use super::cursor::Piece;
use faultless_host::kernel::Bare;
use faultless_host::mm_real::RealMmu;
use faultless_host::mmu::Protection;
use faultless_host::model::difference;
use faultless_host::space::AddressSpace;
use faultless_host::{Machine, MachineConfig};

/// What an access wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Arbitrary)]
pub(super) enum Access {
    Read,
    Write,
}

/// Whether it resolves faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Arbitrary)]
pub(super) enum Policy {
    Atomic,
    Faulting,
}

/// Memory with a copy of all its bytes on the side.
pub(super) trait TestMemory {
    type User: UserMemory<Token = MayFault>;

    /// What is under test.
    fn user(&self) -> Rc<Self::User>;
    /// Its pages.
    fn pages(&self) -> usize;
    /// Begins a run.
    fn reset(&mut self, input: &mut Unstructured<'_>) -> arbitrary::Result<()>;
    /// A page stops being resident, where there is such a thing.
    fn evict(&mut self, page: usize);
    /// How many bytes of the piece an access reaches, which it then does.
    fn reach(&mut self, start: usize, len: usize, access: Access, policy: Policy) -> usize;
    /// Whether the byte can be had by an access that resolves faults.
    fn allows(&self, addr: usize, access: Access) -> bool;
    /// What fault-in has done to pages: those of `piece` are resident.
    fn probed(&mut self, piece: Piece, access: Access);
    /// Just those pages are resident that ought to be.
    fn check_residence(&self);
    /// Every byte is what it ought to be.
    fn check(&mut self);
    /// A debugger changes a byte that can be read.
    fn put(&mut self, addr: usize, byte: u8);
    /// The copy on the side, and the address of its first byte.
    fn predicted(&mut self) -> (&mut [u8], usize);

    /// What the pieces hold.
    fn gather(&mut self, pieces: &[Piece], to: &mut [u8]) {
        let (predicted, base) = self.predicted();
        let mut done = 0;
        for &(start, len) in pieces {
            to[done..done + len].copy_from_slice(&predicted[start - base..][..len]);
            done += len;
        }
    }

    /// The pieces ought to hold `bytes` from here on.
    fn scatter(&mut self, pieces: &[Piece], bytes: &[u8]) {
        let (predicted, base) = self.predicted();
        let mut done = 0;
        for &(start, len) in pieces {
            predicted[start - base..][..len].copy_from_slice(&bytes[done..done + len]);
            done += len;
        }
    }

    /// A fault-in of `pieces` that says it reached `reached` bytes told the truth, byte by page
    /// (U6).
    fn check_probed(&mut self, pieces: &[Piece], mut reached: usize, access: Access) {
        for &(start, len) in pieces {
            let claimed = reached.min(len);
            reached -= claimed;
            for at in probe_points(start, len, claimed) {
                assert!(self.allows(at, access), "U6: claims {at:#x}, which cannot be reached");
            }
            if claimed < len {
                let refused = probe_points(start, len, len).any(|at| !self.allows(at, access));
                assert!(refused, "U6: misses bytes, all of which can be reached");
                let first = self.allows(start, access);
                assert!(claimed > 0 || !first, "U6: reached nothing, not even the first byte");
            }
            self.probed((start, len), access);
            if claimed < len {
                break;
            }
        }
        assert!(reached == 0, "U6: claims more than was asked for");
    }
}

/// The bytes that have to answer for a claim on the first `claimed` of `len` bytes at `start`.
fn probe_points(start: usize, len: usize, claimed: usize) -> impl Iterator<Item = usize> {
    let next = (start / PAGE_SIZE + 1) * PAGE_SIZE;
    let pages = (next..start + claimed).step_by(PAGE_SIZE);
    let first = (claimed > 0).then_some(start);
    let last = (claimed == len && len > 0).then(|| start + len - 1);
    first.into_iter().chain(pages).chain(last)
}

/// What the pages of [`RealPages`] are.
const KINDS: [Kind; 9] = {
    use Kind::{NoAccess, ReadOnly, ReadWrite, Unmapped};
    [ReadWrite, NoAccess, ReadWrite, ReadWrite, ReadOnly, ReadOnly, ReadWrite, Unmapped, ReadWrite]
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    ReadWrite,
    ReadOnly,
    NoAccess,
    Unmapped,
}

impl Kind {
    fn allows(self, access: Access) -> bool {
        match self {
            Self::ReadWrite => true,
            Self::ReadOnly => access == Access::Read,
            Self::NoAccess | Self::Unmapped => false,
        }
    }

    fn protection(self) -> Option<Protection> {
        match self {
            Self::ReadWrite => Some(Protection::ReadWrite),
            Self::ReadOnly => Some(Protection::Read),
            Self::NoAccess => Some(Protection::None),
            Self::Unmapped => None,
        }
    }
}

/// Pages with real faults.
pub(super) struct RealPages {
    space: Rc<AddressSpace<RealMmu, Bare>>,
    machine: Machine<RealMmu, Bare>,
    base: usize,
    predicted: Vec<u8>,
    now: Vec<u8>,
    resident: [Resident; KINDS.len()],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Resident {
    No,
    Yes,
}

impl RealPages {
    pub(super) fn new() -> Self {
        let machine = Machine::build(MachineConfig::new().frames(32));
        let space: AddressSpace<RealMmu, Bare> = machine.space_of(KINDS.len());
        let space = Rc::new(space);
        for (page, kind) in KINDS.iter().enumerate() {
            let Some(protection) = kind.protection() else { continue };
            space.map_anonymous(page, 1, protection);
        }
        let base = space.at(0, 0).get();
        let predicted = vec![0; KINDS.len() * PAGE_SIZE];
        let now = predicted.clone();
        let resident = [Resident::No; KINDS.len()];
        let mut tested = Self { space, machine, base, predicted, now, resident };
        for page in tested.readable() {
            tested.populate(page);
            let place = page * PAGE_SIZE;
            let bytes: Vec<u8> = (0..PAGE_SIZE).map(|at| pattern(place + at)).collect();
            tested.space.poke(tested.space.at(page, 0), &bytes);
            tested.predicted[place..place + PAGE_SIZE].copy_from_slice(&bytes);
        }
        tested
    }

    fn readable(&self) -> impl Iterator<Item = usize> + use<> {
        (0..KINDS.len()).filter(|page| KINDS[*page].allows(Access::Read))
    }

    fn populate(&mut self, page: usize) {
        if self.resident[page] == Resident::No {
            self.space.populate(page, 1).expect("a page with memory");
            self.resident[page] = Resident::Yes;
        }
    }

    fn pages_of(&self, start: usize, len: usize) -> Range<usize> {
        let first = (start - self.base) / PAGE_SIZE;
        first..(start - self.base + len).div_ceil(PAGE_SIZE)
    }
}

/// A byte that tells its place.
fn pattern(at: usize) -> u8 {
    (at.wrapping_mul(31) >> 3) as u8 ^ (at >> 9) as u8
}

impl TestMemory for RealPages {
    type User = AddressSpace<RealMmu, Bare>;

    fn user(&self) -> Rc<Self::User> {
        self.space.clone()
    }

    fn pages(&self) -> usize {
        KINDS.len()
    }

    fn reset(&mut self, input: &mut Unstructured<'_>) -> arbitrary::Result<()> {
        self.machine.check().adopt();
        let cold: u16 = if input.ratio(1, 4)? { input.arbitrary()? } else { 0 };
        for page in self.readable() {
            if cold & 1 << page == 0 {
                self.populate(page);
            } else {
                self.evict(page);
            }
        }
        Ok(())
    }

    fn evict(&mut self, page: usize) {
        let page = page % KINDS.len();
        if self.resident[page] == Resident::Yes {
            self.space.evict(page, 1);
            self.resident[page] = Resident::No;
        }
    }

    fn reach(&mut self, start: usize, len: usize, access: Access, policy: Policy) -> usize {
        let mut end = start;
        for page in self.pages_of(start, len) {
            let absent = self.resident[page] == Resident::No;
            if !KINDS[page].allows(access) || policy == Policy::Atomic && absent {
                break;
            }
            self.resident[page] = Resident::Yes;
            end = self.base + (page + 1) * PAGE_SIZE;
        }
        end.min(start + len) - start
    }

    fn allows(&self, addr: usize, access: Access) -> bool {
        KINDS[(addr - self.base) / PAGE_SIZE].allows(access)
    }

    fn probed(&mut self, (start, len): Piece, access: Access) {
        let _ = self.reach(start, len, access, Policy::Faulting);
    }

    fn check_residence(&self) {
        for page in self.readable() {
            let is = self.space.is_resident(page);
            assert_eq!(is, self.resident[page] == Resident::Yes, "U3: residence of page {page}");
        }
    }

    fn check(&mut self) {
        for page in self.readable() {
            let place = page * PAGE_SIZE..(page + 1) * PAGE_SIZE;
            self.space.peek(self.space.at(page, 0), &mut self.now[place.clone()]);
            if let Some(what) = difference(&self.now[place.clone()], &self.predicted[place]) {
                panic!("U1, U6: user memory, page {page}: {what}");
            }
        }
    }

    fn put(&mut self, addr: usize, byte: u8) {
        self.space.poke(UserAddr::new(addr), &[byte]);
        self.predicted[addr - self.base] = byte;
    }

    fn predicted(&mut self) -> (&mut [u8], usize) {
        (&mut self.predicted, self.base)
    }
}

/// Bytes with a hole.
pub(super) struct Bytes {
    memory: Rc<Scripted>,
    predicted: Vec<u8>,
    now: Vec<u8>,
    hole: Range<usize>,
}

impl Bytes {
    pub(super) fn new() -> Self {
        let memory = Rc::new(Scripted::new());
        let predicted: Vec<u8> = (0..memory.user_range().len()).map(pattern).collect();
        memory.poke(memory.base(), &predicted);
        Self { now: predicted.clone(), predicted, memory, hole: 0..0 }
    }

    /// The page that can only be read.
    fn read_only(&self) -> usize {
        self.memory.user_range().end - PAGE_SIZE
    }
}

impl TestMemory for Bytes {
    type User = Scripted;

    fn user(&self) -> Rc<Scripted> {
        self.memory.clone()
    }

    fn pages(&self) -> usize {
        self.predicted.len() / PAGE_SIZE
    }

    fn reset(&mut self, input: &mut Unstructured<'_>) -> arbitrary::Result<()> {
        let range = self.memory.user_range();
        // At the very end the hole lies behind all that can be asked for.
        let start = range.start + usize::from(input.arbitrary::<u16>()?) % (range.len() + 1);
        self.hole = start..start + 1 + usize::from(input.arbitrary::<u16>()?) % PAGE_SIZE;
        self.memory.set_hole(self.hole.clone());
        Ok(())
    }

    fn evict(&mut self, _page: usize) {}

    fn reach(&mut self, start: usize, len: usize, access: Access, _policy: Policy) -> usize {
        let mut end = start + len;
        let limit = |end: &mut usize, place: Range<usize>| {
            if start < place.end && place.start < *end {
                *end = place.start.max(start);
            }
        };
        limit(&mut end, self.hole.clone());
        if access == Access::Write {
            limit(&mut end, self.read_only()..usize::MAX);
        }
        end - start
    }

    fn allows(&self, addr: usize, access: Access) -> bool {
        !self.hole.contains(&addr) && (access == Access::Read || addr < self.read_only())
    }

    fn probed(&mut self, _piece: Piece, _access: Access) {}

    fn check_residence(&self) {}

    fn check(&mut self) {
        self.memory.peek(self.memory.base(), &mut self.now);
        if let Some(what) = difference(&self.now, &self.predicted) {
            panic!("U1, U6: user memory: {what}");
        }
    }

    fn put(&mut self, addr: usize, byte: u8) {
        self.memory.poke(UserAddr::new(addr), &[byte]);
        self.predicted[addr - self.memory.user_range().start] = byte;
    }

    fn predicted(&mut self) -> (&mut [u8], usize) {
        (&mut self.predicted, self.memory.user_range().start)
    }
}

/// An address of the field.
pub(super) fn address<F: TestMemory>(tested: &F, offset: isize) -> UserAddr {
    UserAddr::new(tested.user().user_range().start.wrapping_add_signed(offset))
}
