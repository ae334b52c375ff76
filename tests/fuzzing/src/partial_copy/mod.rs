//! Copies, the cursor, fault-in and import against the contract U1–U7 and W7, at every offset.
//!
//! A script names a [memory](test_memory) (real pages with real faults, or bytes with a hole
//! anywhere), segments and steps. After each step the cursor is where the [model](cursor) says, the
//! kernel's buffer holds what was copied and nothing else, and every byte of user memory is what it
//! ought to be.

mod cursor;
mod import;
mod place;
mod test_memory;

use std::cell::Cell;

use arbitrary::{Arbitrary, Unstructured};
use faultless_usercopy::{IovIter, MayFault, UserMemory, UserSlice};

use self::cursor::Cursor;
use self::place::Place;
use self::test_memory::{Access, Bytes, Policy, RealPages, TestMemory};
use super::Plant;
use super::planted_user::PlantedUser;
use super::reuse::reuse;
use super::show::show;
use faultless_host::syscall;

/// Segments of a request, at most.
const SEGMENTS: usize = 8;
/// Steps of a script, at most.
const STEPS: usize = 24;
/// Bytes of the kernel's buffer.
const BUFFER: usize = 10 * 1024;
/// What the kernel's buffer holds before a copy.
const BEFORE: u8 = 0xEE;
const CLEAN: [u8; BUFFER] = [BEFORE; BUFFER];
/// What is copied to user memory: from any offset below 256, bytes that differ from those at
/// another.
const FRESH: [u8; BUFFER + 256] = {
    let mut fresh = [0; BUFFER + 256];
    let mut at = 0;
    while at < fresh.len() {
        fresh[at] = (at as u8).wrapping_mul(13) ^ (at >> 8) as u8;
        at += 1;
    }
    fresh
};

/// What is done next.
#[derive(Clone, Copy, Debug, Arbitrary)]
enum Step {
    CopyFrom(Policy, Length),
    CopyTo(Policy, Length),
    Clear(Length),
    FaultIn(Access, Length),
    Advance(Length),
    Revert(Length),
    Truncate(Length),
    Reexpand(Length),
    /// A page of real memory stops being resident.
    Evict(u8),
}

/// A number of bytes, small more often than not.
#[derive(Clone, Copy, Debug, Arbitrary)]
enum Length {
    Few(u8),
    Many(u16),
    All,
}

impl Length {
    fn get(self) -> usize {
        match self {
            Self::Few(bytes) => usize::from(bytes),
            Self::Many(bytes) => usize::from(bytes) % (BUFFER - 64),
            Self::All => BUFFER - 64,
        }
    }
}

thread_local! {
    static REAL: Cell<Option<RealPages>> = const { Cell::new(None) };
    static BYTES: Cell<Option<Bytes>> = const { Cell::new(None) };
}

pub(super) fn body(input: &mut Unstructured<'_>, plant: Plant) -> arbitrary::Result<()> {
    if input.arbitrary()? {
        reuse(&REAL, RealPages::new, |tested| play(tested, input, plant))
    } else {
        reuse(&BYTES, Bytes::new, |tested| play(tested, input, plant))
    }
}

fn play<F: TestMemory>(
    tested: &mut F,
    input: &mut Unstructured<'_>,
    plant: Plant,
) -> arbitrary::Result<()> {
    tested.reset(input)?;
    syscall(|token| {
        let mut slices: Vec<UserSlice> = Vec::new();
        for _ in 0..input.int_in_range(0..=SEGMENTS)? {
            slices.extend(segment(tested, input)?);
        }
        if input.ratio(1, 8)? {
            import::check(tested, token, input)?;
        }
        requests(tested, token, &slices, input, plant)
    })
}

/// A range of user memory, if it is one (U5).
fn segment<F: TestMemory>(
    tested: &F,
    input: &mut Unstructured<'_>,
) -> arbitrary::Result<Option<UserSlice>> {
    let range = tested.user().user_range();
    let place = Place::arbitrary(input)?.get(tested.pages());
    let addr = range.start.wrapping_add_signed(place);
    let len = match Length::arbitrary(input)? {
        Length::All if input.ratio(1, 4)? => usize::MAX - usize::from(u8::arbitrary(input)?),
        other => other.get(),
    };
    let made = UserSlice::new(&*tested.user(), faultless_usercopy::UserAddr::new(addr), len);
    let end = addr as u128 + len as u128;
    let fits = len == 0 || addr >= range.start && end <= range.end as u128;
    assert_eq!(made.is_ok(), fits, "U5: {addr:#x}+{len:#x} of {range:x?}");
    Ok(made.ok())
}

fn requests<F: TestMemory>(
    tested: &mut F,
    token: &mut MayFault,
    slices: &[UserSlice],
    input: &mut Unstructured<'_>,
    plant: Plant,
) -> arbitrary::Result<()> {
    let user = tested.user();
    let user = PlantedUser::new(&*user, plant);
    let mut iter = IovIter::new(&user, slices).expect("few segments of a small memory");
    let mut cursor = Cursor::new(slices);
    let mut buffer = vec![BEFORE; BUFFER];
    cursor.check(&iter);
    for number in 0..STEPS {
        if input.is_empty() {
            break;
        }
        let step = Step::arbitrary(input)?;
        show(format_args!("{number:>2} {step:?}"));
        let mut run = Run {
            token: &mut *token,
            iter: &mut iter,
            cursor: &mut cursor,
            buffer: &mut buffer,
            plant,
        };
        run.step(tested, step, number as u8);
        cursor.check(&iter);
        tested.check_residence();
    }
    tested.check();
    Ok(())
}

/// A request on its way.
struct Run<'r, 's, U: UserMemory<Token = MayFault>> {
    token: &'r mut MayFault,
    iter: &'r mut IovIter<'s, PlantedUser<'s, U>>,
    cursor: &'r mut Cursor,
    buffer: &'r mut [u8],
    plant: Plant,
}

impl<U: UserMemory<Token = MayFault>> Run<'_, '_, U> {
    fn step<F: TestMemory>(&mut self, tested: &mut F, step: Step, number: u8) {
        match step {
            Step::CopyFrom(policy, len) => self.copy_from(tested, policy, len.get()),
            Step::CopyTo(policy, len) => self.copy_to(tested, policy, len.get(), number),
            Step::Clear(len) => self.clear(tested, len.get()),
            Step::FaultIn(access, len) => self.fault_in(tested, access, len.get()),
            Step::Advance(len) => {
                self.iter.advance(len.get());
                self.cursor.advance(len.get());
            }
            Step::Revert(len) => {
                self.iter.revert(len.get());
                self.cursor.revert(len.get());
            }
            Step::Truncate(len) => {
                self.iter.truncate(len.get());
                self.cursor.truncate(len.get());
            }
            Step::Reexpand(len) => {
                self.iter.reexpand(len.get());
                self.cursor.reexpand(len.get());
            }
            Step::Evict(page) => tested.evict(usize::from(page)),
        }
    }

    fn copy_from<F: TestMemory>(&mut self, tested: &mut F, policy: Policy, len: usize) {
        let expected = self.reach(tested, Access::Read, policy, len);
        let asked = len.min(self.cursor.count());
        let dst = self.buffer.as_mut_ptr();
        let copied = match policy {
            // SAFETY: `len` is less than the buffer's length, and the buffer is ours alone.
            Policy::Atomic => unsafe { self.iter.copy_from_atomic(dst, len) },
            // SAFETY: as above.
            Policy::Faulting => unsafe { self.iter.copy_from(self.token, dst, len) },
        };
        check_copied(copied, expected, asked, policy, "from user memory");
        let mut source = vec![0; copied.min(expected)];
        tested.gather(&self.cursor.pieces(source.len()), &mut source);
        let (done, rest) = self.buffer.split_at(copied.min(expected));
        assert!(*done == *source, "U1: copied bytes are not the source's: {:?}", at(done, &source));
        let intact = *rest == CLEAN[..rest.len()];
        assert!(intact, "U1: the buffer was changed past the {copied} bytes copied");
        self.buffer[..copied].fill(BEFORE);
        self.moved(copied, len);
    }

    fn copy_to<F: TestMemory>(&mut self, tested: &mut F, policy: Policy, len: usize, number: u8) {
        let expected = self.reach(tested, Access::Write, policy, len);
        let asked = len.min(self.cursor.count());
        let tag = usize::from(number.wrapping_mul(29));
        self.buffer[..len].copy_from_slice(&FRESH[tag..tag + len]);
        let src = self.buffer.as_ptr();
        let copied = match policy {
            // SAFETY: `len` is less than the buffer's length, and does not change.
            Policy::Atomic => unsafe { self.iter.copy_to_atomic(src, len) },
            // SAFETY: as above.
            Policy::Faulting => unsafe { self.iter.copy_to(self.token, src, len) },
        };
        check_copied(copied, expected, asked, policy, "to user memory");
        tested.scatter(&self.cursor.pieces(copied), &self.buffer[..copied]);
        self.buffer[..len].fill(BEFORE);
        self.moved(copied, len);
    }

    fn clear<F: TestMemory>(&mut self, tested: &mut F, len: usize) {
        let expected = self.reach(tested, Access::Write, Policy::Faulting, len);
        let asked = len.min(self.cursor.count());
        let cleared = self.iter.clear(self.token, len);
        check_copied(cleared, expected, asked, Policy::Faulting, "cleared");
        tested.scatter(&self.cursor.pieces(cleared), &vec![0; cleared]);
        self.cursor.advance(cleared);
    }

    fn fault_in<F: TestMemory>(&mut self, tested: &mut F, access: Access, len: usize) {
        let asked = len.min(self.cursor.count());
        let missed = match access {
            Access::Read => self.iter.fault_in_readable(self.token, len),
            Access::Write => self.iter.fault_in_writeable(self.token, len),
        };
        assert!(missed <= asked, "U6: missed {missed} of {asked} bytes");
        let reached = asked - missed;
        tested.check_probed(&self.cursor.pieces(asked), reached, access);
    }

    /// How many of the next `len` bytes an access reaches, piece by piece; with the pages that it
    /// makes resident.
    fn reach<F: TestMemory>(
        &self,
        tested: &mut F,
        access: Access,
        policy: Policy,
        len: usize,
    ) -> usize {
        let mut reached = 0;
        for (start, len) in self.cursor.pieces(len) {
            let now = tested.reach(start, len, access, policy);
            reached += now;
            if now < len {
                break;
            }
        }
        reached
    }

    /// The model's cursor follows; with the plant, the real one has gone further.
    fn moved(&mut self, copied: usize, asked: usize) {
        self.cursor.advance(copied);
        if self.plant == Plant::CursorOverruns {
            self.iter.advance(asked - copied);
        }
    }
}

/// The count is right: exactly what could be reached, which U1 and U2 allow and all the back ends
/// here promise.
#[track_caller]
fn check_copied(copied: usize, expected: usize, asked: usize, policy: Policy, what: &str) {
    assert!(copied <= asked, "U1: {copied} of {asked} bytes {what}");
    assert!(copied > 0 || expected == 0, "U2: nothing of {expected} bytes {what}");
    let rule = if policy == Policy::Atomic && copied > expected { "U1, U3" } else { "U1" };
    assert_eq!(copied, expected, "{rule}: bytes {what}, of {asked}, {policy:?}");
}

fn at(one: &[u8], other: &[u8]) -> Option<usize> {
    one.iter().zip(other).position(|(one, other)| one != other)
}
