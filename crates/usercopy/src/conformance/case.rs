//! One access: laid out, run, and all bytes of both sides compared.

use super::change::{Change, MovingLayout, Present};
use super::{Failure, Layout, Operation};
use crate::{MayFault, UserAddr, UserMemory};

/// Longest access of the suite in bytes.
pub(super) const MAX_LEN: usize = 2048;

/// Bytes on both sides of an access that must not change.
const GUARD: usize = 32;

/// Kernel-side bytes: guards, the access, room for alignment.
const KERNEL: usize = GUARD + 8 + MAX_LEN + GUARD;

/// How much is asked of the implementor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Promise {
    /// U1–U7.
    Contract,
    /// Exact to the byte that faults.
    Exact,
}

/// What breaks U2.
const NOTHING_DONE: &str = "nothing done although the first byte was accessible";

/// After how many bytes a pattern is repeated: no power of two, so that a whole block or page in
/// the place of another shows.
const PERIOD: usize = 127;

/// Byte `at` of the kernel side: never zero, never a user-side byte.
fn kernel_byte(at: usize) -> u8 {
    1 + (at % PERIOD) as u8
}

/// Byte at `addr` of the user side: never zero, never a kernel-side byte.
pub(super) fn user_byte(addr: usize) -> u8 {
    0x80 + (addr % PERIOD) as u8
}

/// Fills `len` bytes at `addr` with the user-side pattern.
pub(super) fn poke_pattern<L: Layout + ?Sized>(layout: &L, addr: UserAddr, len: usize) {
    let mut chunk = [0_u8; 256];
    let mut done = 0;
    while done < len {
        let piece = (len - done).min(chunk.len());
        let at = addr.wrapping_add(done);
        for (i, byte) in chunk.iter_mut().enumerate().take(piece) {
            *byte = user_byte(at.get().wrapping_add(i));
        }
        layout.poke(at, &chunk[..piece]);
        done += piece;
    }
}

/// Offset of the first of `len` user bytes at `addr` that is not `expected(offset)`.
pub(super) fn first_wrong<L: Layout + ?Sized>(
    layout: &L,
    addr: UserAddr,
    len: usize,
    expected: impl Fn(usize) -> u8,
) -> Option<usize> {
    let mut chunk = [0_u8; 256];
    let mut done = 0;
    while done < len {
        let piece = (len - done).min(chunk.len());
        layout.peek(addr.wrapping_add(done), &mut chunk[..piece]);
        let wrong = (0..piece).find(|&i| chunk[i] != expected(done + i));
        if let Some(i) = wrong {
            return Some(done + i);
        }
        done += piece;
    }
    None
}

/// The state of a sweep over one operation.
pub(super) struct Case<'l, L: Layout + ?Sized> {
    layout: &'l L,
    token: &'l mut MayFault,
    promise: Promise,
    pub(super) operation: Operation,
    kernel: [u8; KERNEL],
}

/// What one run did, for the comparisons.
struct Run {
    start: UserAddr,
    /// Index of the access in the kernel-side bytes.
    offset: usize,
    len: usize,
    accessible: usize,
    /// Bytes from `start` on that are accessible when the bytes are compared.
    compared: usize,
    reported: usize,
    change: Option<Change>,
}

impl<'l, L: Layout + ?Sized> Case<'l, L> {
    pub(super) fn new(layout: &'l L, token: &'l mut MayFault, promise: Promise) -> Self {
        let operation = Operation::CopyFromUser;
        Self { layout, token, promise, operation, kernel: [0; KERNEL] }
    }

    pub(super) fn base(&self) -> UserAddr {
        self.layout.base()
    }

    pub(super) fn page_size(&self) -> usize {
        self.layout.page_size()
    }

    /// Runs the operation on `len` bytes of which the first `accessible` lie before `edge`, where
    /// (unless that is all of them) it must stop. The kernel side is misaligned by `alignment % 8`.
    pub(super) fn run(
        &mut self,
        edge: UserAddr,
        len: usize,
        accessible: usize,
        alignment: usize,
    ) -> Result<(), Failure> {
        let start = edge.wrapping_add(accessible.wrapping_neg());
        let offset = GUARD + alignment % 8;
        self.lay_out(start, offset, len, accessible);
        let left = self.perform(start, offset, len);
        let reported = len.wrapping_sub(left);
        let compared = accessible;
        let run = Run { start, offset, len, accessible, compared, reported, change: None };
        self.check_count(&run)?;
        self.check_kernel_side(&run)?;
        self.check_user_side(&run)
    }

    /// Runs the operation on `len` bytes across the border of the two neighbouring read-write
    /// pages, which are unmapped and mapped as `change` says. Returns whether the copy reached the
    /// point of the change. The kernel side is misaligned by `alignment % 8`.
    pub(super) fn run_moving(
        &mut self,
        len: usize,
        alignment: usize,
        change: Change,
    ) -> Result<bool, Failure>
    where
        L: MovingLayout,
    {
        let border = self.base().wrapping_add(3 * self.page_size());
        let start = border.wrapping_add(change.in_first.wrapping_neg());
        let offset = GUARD + alignment % 8;
        self.layout.set(Present::Both);
        self.lay_out(start, offset, len, len + GUARD);
        self.layout.set(change.before);
        self.layout.arm(change.point, change.after);
        let left = self.perform(start, offset, len);
        let reached = self.layout.disarm();
        self.layout.set(Present::Both);
        let reported = len.wrapping_sub(left);
        let first = |pages: Present| match change.in_first {
            0 => pages.second(),
            _ => pages.first(),
        };
        let always = first(change.before) && (!reached || first(change.after));
        let accessible = usize::from(always);
        let (compared, change) = (len + GUARD, Some(change));
        let run = Run { start, offset, len, accessible, compared, reported, change };
        if reported > len {
            return Err(self.fail(&run, "U1", "more left than asked for"));
        }
        if reported == 0 && len > 0 && always {
            return Err(self.fail(&run, "U2", NOTHING_DONE));
        }
        self.check_kernel_side(&run)?;
        self.check_user_side(&run)?;
        Ok(reached)
    }

    /// Fills both sides with their patterns: `accessible` bytes from `start` on, and the guards.
    fn lay_out(&mut self, start: UserAddr, offset: usize, len: usize, accessible: usize) {
        poke_pattern(self.layout, start.wrapping_add(GUARD.wrapping_neg()), GUARD + accessible);
        for (at, byte) in self.kernel[..offset + len + GUARD].iter_mut().enumerate() {
            *byte = kernel_byte(at);
        }
    }

    /// Calls the function under test; returns bytes left.
    fn perform(&mut self, user_addr: UserAddr, offset: usize, len: usize) -> usize {
        let user = self.layout.user();
        let kernel = self.kernel[offset..offset + len].as_mut_ptr();
        match self.operation {
            // SAFETY: `kernel` is ours and `len` long; the layout vouches for the range, which
            // `suite` checked.
            Operation::CopyFromUser => unsafe {
                user.raw_copy_from_user(self.token, kernel, user_addr, len)
            },
            // SAFETY: as above.
            Operation::CopyFromUserAtomic => unsafe {
                user.raw_copy_from_user_atomic(kernel, user_addr, len)
            },
            // SAFETY: as above.
            Operation::CopyToUser => unsafe {
                user.raw_copy_to_user(self.token, user_addr, kernel, len)
            },
            // SAFETY: as above.
            Operation::CopyToUserAtomic => unsafe {
                user.raw_copy_to_user_atomic(user_addr, kernel, len)
            },
            // SAFETY: the range, as above.
            _ => unsafe { user.raw_clear_user(self.token, user_addr, len) },
        }
    }

    fn fail(&self, run: &Run, rule: &'static str, seen: &'static str) -> Failure {
        let failure = Failure::new(self.operation, rule, seen);
        failure.with_counts(run.len, run.accessible, run.reported).with_change(run.change)
    }

    fn check_count(&self, run: &Run) -> Result<(), Failure> {
        if run.reported > run.len {
            return Err(self.fail(run, "U1", "more left than asked for"));
        }
        if run.reported > run.accessible {
            return Err(self.fail(run, "U1", "reports bytes that were not accessible"));
        }
        if run.reported == 0 && run.accessible > 0 {
            return Err(self.fail(run, "U2", NOTHING_DONE));
        }
        if self.promise == Promise::Exact && run.reported < run.accessible {
            return Err(self.fail(run, "exactness", "stops before the byte that faults"));
        }
        Ok(())
    }

    /// The kernel's bytes: the reported prefix is the user's (when copying from there), all others
    /// are as before.
    fn check_kernel_side(&self, run: &Run) -> Result<(), Failure> {
        let written = if self.operation.writes_user() { 0 } else { run.reported };
        let expected = |at: usize| match at.checked_sub(run.offset) {
            Some(i) if i < written => user_byte(run.start.get().wrapping_add(i)),
            _ => kernel_byte(at),
        };
        let mut bytes = self.kernel[..run.offset + run.len + GUARD].iter().enumerate();
        let Some((at, _)) = bytes.find(|&(at, &byte)| byte != expected(at)) else {
            return Ok(());
        };
        let seen = match at.checked_sub(run.offset) {
            Some(i) if i < written => "a copied byte is not the source's",
            _ if self.operation.writes_user() => "the source was changed",
            _ => "a byte past the reported ones was changed",
        };
        Err(self.fail(run, "U1", seen).with_byte(at.wrapping_sub(run.offset)))
    }

    /// The user's bytes: the reported prefix is the kernel's or zero (when writing there), all
    /// others are as before.
    fn check_user_side(&self, run: &Run) -> Result<(), Failure> {
        let written = if self.operation.writes_user() { run.reported } else { 0 };
        let before = run.start.wrapping_add(GUARD.wrapping_neg());
        let expected = |at: usize| match at.checked_sub(GUARD) {
            Some(i) if i < written && self.operation == Operation::ClearUser => 0,
            Some(i) if i < written => kernel_byte(run.offset + i),
            _ => user_byte(before.get().wrapping_add(at)),
        };
        let Some(at) = first_wrong(self.layout, before, GUARD + run.compared, expected) else {
            return Ok(());
        };
        let seen = match at.checked_sub(GUARD) {
            Some(i) if i < written => "a written byte is wrong",
            _ if self.operation.writes_user() => "a byte past the reported ones was changed",
            _ => "the source was changed",
        };
        Err(self.fail(run, "U1", seen).with_byte(at.wrapping_sub(GUARD)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_byte_is_zero_or_of_the_other_side_or_that_of_another_block() {
        for at in 0..2 * MAX_LEN {
            assert!((0x01..0x80).contains(&kernel_byte(at)));
            assert!(user_byte(at) >= 0x80);
            for distance in (0..12).map(|power| 1 << power) {
                assert_ne!(kernel_byte(at), kernel_byte(at + distance), "{at} and {distance} on");
                assert_ne!(user_byte(at), user_byte(at + distance), "{at} and {distance} on");
            }
        }
    }
}
