//! The faulting copy under the page lock: 2.6.23, and the pattern that probes first (illumos,
//! OpenZFS).

#![forbid(unsafe_code)]

use faultless_filemap::Task;
use faultless_page::{Errno, Kernel, Trace};
use faultless_usercopy::{MayFault, UserMemory};

use super::breach;
use super::bytes::copy_in_faulting;
use super::prepared::{Prepared, Rest, in_page, lock_page};
use super::request::Failure;
use super::writer::Writer;

/// Whether the source is looked at before the page is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Probe {
    /// No: 2.6.23.
    None,
    /// Yes, and what it could not reach is not tried.
    First,
}

impl<K: Kernel, U: UserMemory<Token = MayFault>, T: Task> Writer<'_, K, U, T> {
    /// The loop: a piece of one segment and one page each time.
    pub(super) fn copy_under_lock(&mut self, probe: Probe) -> Result<(), Failure> {
        while self.from.count() > 0 {
            self.step()?;
            if self.task.fatal_signal_pending() {
                return Err(Errno::Interrupted.into());
            }
            self.from.skip_empty();
            let mut piece = self.from.current();
            piece = piece.prefix(in_page(self.pos, piece.len()));
            if probe == Probe::First {
                K::trace(Trace::FaultIn(piece.len()));
                let missed = self.user.fault_in_readable(self.token, piece);
                piece = piece.prefix(piece.len() - missed);
            }
            if piece.is_empty() {
                return Err(Errno::Fault.into());
            }
            // Here is the bug: the token is not borrowed while the page is locked, and so ...
            let locked = lock_page(self.inode, breach::context_without_token, self.pos)?;
            let mut page = Prepared::new(locked, self.pos, piece.len())?;
            piece = piece.prefix(page.len());
            // ... it is free for a copy that may fault: P → M → P.
            let copied = copy_in_faulting(&page, self.user, self.token, piece);
            let accepted = settle_short(&mut page, probe, copied);
            page.commit(accepted);
            self.landed(accepted);
            if copied < piece.len() {
                return Err(Errno::Fault.into());
            }
            self.task.throttle();
        }
        Ok(())
    }
}

/// What a copy of `copied` bytes leaves in the page, and how many of them count. 2.6.23's copy
/// zeroed its uncopied tail, valid or not (B3).
fn settle_short<K: Kernel>(page: &mut Prepared<'_, K>, probe: Probe, copied: usize) -> usize {
    if copied >= page.len() {
        return copied;
    }
    match (probe, page.rest()) {
        (Probe::None, _) | (Probe::First, Rest::Hole) => page.zero_from(copied),
        (Probe::First, Rest::Valid) => {}
        // Nothing stands behind the tail: a page of which a part is undefined takes nothing (P1).
        (Probe::First, Rest::Replaced) => return 0,
    }
    copied
}
