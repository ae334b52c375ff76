//! Reads of holes of a file that is nowhere but in the cache: zeros, and no page.
//!
//! A fault needs a page with the zeros, which is
//! [transient](faultless_page::LockedRun::set_transient) until it is written, and leaves when
//! memory is short. A read needs none.
#![forbid(unsafe_code)]

use faultless_page::{Errno, Kernel, Mark};
use faultless_usercopy::{IovIter, UserMemory};

use crate::inode::Inode;
use crate::pos::FilePos;

impl<K: Kernel> Inode<K> {
    /// Copies zeros, up to `len` bytes, if the bytes at `pos` are in no page and the store is
    /// [empty](faultless_page::AddressSpaceOperations::is_empty). How many: 0 if there is a page.
    /// Nothing is locked: the copy may fault.
    ///
    /// # Errors
    /// [`Errno::Fault`]: the user memory is not there.
    #[cold]
    pub(crate) fn read_hole<U: UserMemory + ?Sized>(
        &self,
        token: &mut U::Token,
        to: &mut IovIter<'_, U>,
        pos: FilePos,
        len: usize,
    ) -> Result<usize, Errno> {
        if !self.mapping().holes_are_zeros() {
            return Ok(0);
        }
        // In this order: a truncation cuts first, and then drops pages, which have no zeros.
        let then = self.size_changes.now();
        let len = self.bytes_before_end(pos, len);
        let Some(run) = pos.run(len) else { return Ok(0) };
        let cached = self.mapping().find(run.first(), run.end(), Mark::Present);
        let end = cached.map_or(run.end(), |cached| cached.first());
        let hole = FilePos::clipped(end.start()).since(pos);
        let uncut = self.size_changes.lowest_cut_since(then).since(pos);
        let zeros = len.min(uncut).min(hole);
        if zeros == 0 {
            return Ok(0);
        }
        match to.clear(token, zeros) {
            0 => Err(Errno::Fault),
            cleared => Ok(cleared),
        }
    }
}
