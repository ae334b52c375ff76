//! `write`: user memory into the page cache, without ever faulting under a page lock.
//!
//! This module checks the limits and chooses between overwriting and growing. Below it:
//! - [`request`]: what is asked for, and what the others tell each other;
//! - [`hot`]: one run that needs no preparation;
//! - [`writer`]: the loop over a request that needs more;
//! - [`step`]: the two strategies' single steps, and the temporary page they share;
//! - [`chunk`]: one locked run: prepare pages, commit what landed.
//!
//! A write never starts again: what has landed is not written twice, unless a truncation has cut it
//! off meanwhile. See [`ranges`](crate::ranges).
//!
//! A write inside the size takes no inode lock. It begins as an *overwrite*; if it does not lie
//! inside the size (any more), it becomes a *growing* write, under I. What a byte passes on its way
//! is in `ARCHITECTURE.md`, with the lock order.
#![forbid(unsafe_code)]

mod chunk;
mod fresh;
mod hot;
mod request;
mod step;
mod writer;

use core::pin::pin;

use faultless_page::{Errno, Kernel, Strategy};
use faultless_usercopy::{IovIter, UserMemory, UserSlice, WholeRequest};

use self::fresh::NewPage;
use self::hot::Overwrite;
use self::request::{Attempt, Claim, Request, Stop};
use self::writer::Writer;
use crate::buffers::{Buffers, Single};
use crate::drop_behind::DropBehind;
use crate::inode::Inode;
use crate::limits;
use crate::options::{Position, WriteOptions, Written};
use crate::task::{Caller, Task};
use crate::token::InodeLocks;
use crate::uptodate::Kept;

impl<K: Kernel> Inode<K> {
    /// Writes the bytes of `from` to the file.
    ///
    /// Returns how many bytes landed: all of the (clipped) request, or exactly its readable prefix
    /// (W1), or what fitted (W9), or what landed before a fatal signal (W10). `from` has moved on
    /// by just that many; the rest of it is as it was. On an error no byte of the file and not its
    /// size has changed; the times may have been stamped (W12).
    ///
    /// May sleep. No lock that the fault handler could want is held: `token` says so. Takes I when
    /// the file grows. Asks the task to [throttle](Task::throttle) after what landed, with nothing
    /// held (L6).
    ///
    /// # Errors
    /// - [`Errno::Fault`]: not even the first byte is readable (W1).
    /// - [`Errno::FileTooBig`]: the position is at or beyond a limit; with `SIGXFSZ` if it is the
    ///   task's (W8).
    /// - [`Errno::NoSpace`], [`Errno::Io`], [`Errno::NoMemory`]: from the store or the frame
    ///   allocator, before the first byte landed (W9).
    /// - [`Errno::Interrupted`]: a fatal signal, before the first byte landed (W10).
    /// - With [`WriteOptions::sync`], whatever syncing returned, even though bytes landed (W11).
    #[doc(alias = "generic_file_write_iter")]
    #[inline]
    pub fn write<U: UserMemory<Token: InodeLocks> + ?Sized, T: Task>(
        &self,
        token: &mut U::Token,
        from: &mut IovIter<'_, U>,
        options: &WriteOptions,
        task: &T,
    ) -> Result<Written, Errno> {
        self.write_with(token, from, options, None, None, task)
    }

    /// As [`write`](Self::write) of one buffer, for system calls that have one (`pwrite64`): needs
    /// no cursor as long as nothing is in its way. A buffer beyond
    /// [`MAX_RW_COUNT`](faultless_usercopy::MAX_RW_COUNT) bytes is clipped to that.
    ///
    /// # Errors
    /// As `write`.
    #[doc(alias = "pwrite64")]
    #[inline]
    pub fn write_slice<U: UserMemory<Token: InodeLocks> + ?Sized, T: Task>(
        &self,
        token: &mut U::Token,
        user: &U,
        slice: &UserSlice,
        options: &WriteOptions,
        task: &T,
    ) -> Result<Written, Errno> {
        let whole = WholeRequest::new(user, *slice);
        let from = move || Single { user, slice: *slice };
        self.write_buffers(token, whole, from, options, None, None, task)
    }

    /// [`write`](Self::write), or [`write_behind`](Self::write_behind).
    #[inline]
    pub(crate) fn write_with<'f, U: UserMemory<Token: InodeLocks> + ?Sized, T: Task>(
        &'f self,
        token: &mut U::Token,
        from: &mut IovIter<'_, U>,
        options: &WriteOptions,
        behind: Option<&DropBehind<K>>,
        kept: Kept<'_, 'f, K>,
        task: &T,
    ) -> Result<Written, Errno> {
        self.write_buffers(token, IovIter::whole(from), || from, options, behind, kept, task)
    }

    /// The same of all that `from` makes, which is `whole`, if it is one piece in the user range.
    #[inline]
    #[expect(clippy::too_many_arguments, reason = "a request, and what its open file keeps")]
    fn write_buffers<'f, U, B: Buffers<U>, T: Task>(
        &'f self,
        token: &mut U::Token,
        whole: Option<WholeRequest<'_, U>>,
        from: impl FnOnce() -> B,
        options: &WriteOptions,
        behind: Option<&DropBehind<K>>,
        kept: Kept<'_, 'f, K>,
        task: &T,
    ) -> Result<Written, Errno>
    where
        U: UserMemory<Token: InodeLocks> + ?Sized,
    {
        if let Some(whole) = &whole
            && let Some(start) = options.plain()
            && self.is_plain()
            && !task.fatal_signal_pending()
        {
            return match hot::overwrite(self, token, whole, start, task) {
                Overwrite::Landed => {
                    from().finish_whole();
                    task.throttle();
                    Ok(Written { bytes: whole.len(), end: start + whole.len() as u64 })
                }
                Overwrite::Short(short) => {
                    let asked = whole.len();
                    let entry = pin!(self.ranges.request());
                    let mut claim = Claim::none(entry.as_ref());
                    let (landed, then) = short.claim_the_rest(self, &mut claim, task);
                    from().with_cursor(move |from| {
                        from.advance(landed);
                        let strategy = Strategy::BeginEnd;
                        let request = Request { token, from, task, strategy, start, asked, then };
                        self.write_rest(request, claim, landed, behind, kept)
                    })
                }
                // What stopped it stops the next attempt as well, or has gone by then.
                Overwrite::Left(attempt) => {
                    self.write_otherwise(token, from(), options, attempt, behind, kept, task)
                }
            };
        }
        self.write_otherwise(token, from(), options, None, behind, kept, task)
    }

    /// Goes on with what is left of an overwrite whose source came short when `landed` bytes were
    /// there, with the rest claimed.
    #[cold]
    #[inline(never)]
    fn write_rest<'w, 'f: 'w, U: UserMemory<Token: InodeLocks> + ?Sized, T: Task>(
        &'f self,
        request: Request<'w, '_, U, T>,
        claim: Claim<'w, K>,
        landed: usize,
        behind: Option<&'w DropBehind<K>>,
        kept: Kept<'w, 'f, K>,
    ) -> Result<Written, Errno> {
        let task = request.task;
        let first = Some(Attempt::Landed(landed));
        let written = self.write_in_steps(request, claim, first, behind, kept);
        task.throttle();
        written
    }

    /// What is not a hot overwrite: a new page, or the general path. `first` is what came of an
    /// attempt to overwrite, if that is known.
    #[cold] // beside a hot overwrite, which keeps the registers
    #[inline(never)]
    #[expect(clippy::too_many_arguments, reason = "a request, and what its open file keeps")]
    fn write_otherwise<'f, U: UserMemory<Token: InodeLocks> + ?Sized, T: Task>(
        &'f self,
        token: &mut U::Token,
        from: impl Buffers<U>,
        options: &WriteOptions,
        mut first: Option<Attempt>,
        behind: Option<&DropBehind<K>>,
        kept: Kept<'_, 'f, K>,
        task: &T,
    ) -> Result<Written, Errno> {
        if options.sync().is_none()
            && behind.is_none()
            && kept.is_none()
            && !task.fatal_signal_pending()
            && let Some(whole) = from.whole()
        {
            match fresh::write_page(self, token, &whole, options.position(), first, task)? {
                NewPage::Landed(written) => {
                    from.finish_whole();
                    task.throttle();
                    return Ok(written);
                }
                NewPage::Left(attempt) => first = attempt,
            }
        }
        from.with_cursor(move |from| {
            if first.is_none()
                && from.has_further_segments()
                && let Some(start) = options.plain()
                && self.is_plain()
                && !task.fatal_signal_pending()
            {
                return self.overwrite_pieces(token, from, start, options, behind, kept, task);
            }
            self.write_slowly(token, from, options, first, behind, kept, task)
        })
    }

    /// Tries to overwrite at once what is in several segments, and goes on from there.
    #[inline(never)]
    #[expect(clippy::too_many_arguments, reason = "a request, and what its open file keeps")]
    fn overwrite_pieces<'f, U: UserMemory<Token: InodeLocks> + ?Sized, T: Task>(
        &'f self,
        token: &mut U::Token,
        from: &mut IovIter<'_, U>,
        start: u64,
        options: &WriteOptions,
        behind: Option<&DropBehind<K>>,
        kept: Kept<'_, 'f, K>,
        task: &T,
    ) -> Result<Written, Errno> {
        let asked = from.count();
        match hot::overwrite_pieces(self, token, from, start, task) {
            Overwrite::Landed => {
                task.throttle();
                Ok(Written { bytes: asked, end: start + asked as u64 })
            }
            Overwrite::Short(short) => {
                let entry = pin!(self.ranges.request());
                let mut claim = Claim::none(entry.as_ref());
                let (landed, then) = short.claim_the_rest(self, &mut claim, task);
                let strategy = Strategy::BeginEnd;
                let request = Request { token, from, task, strategy, start, asked, then };
                self.write_rest(request, claim, landed, behind, kept)
            }
            Overwrite::Left(first) => {
                self.write_slowly(token, from, options, first, behind, kept, task)
            }
        }
    }

    /// The general path. `first` is what came of an attempt at all of it, if that is known.
    #[cold]
    #[inline(never)]
    #[expect(clippy::too_many_arguments, reason = "a request, and what its open file keeps")]
    fn write_slowly<'f, U: UserMemory<Token: InodeLocks> + ?Sized, T: Task>(
        &'f self,
        token: &mut U::Token,
        from: &mut IovIter<'_, U>,
        options: &WriteOptions,
        first: Option<Attempt>,
        behind: Option<&DropBehind<K>>,
        kept: Kept<'_, 'f, K>,
        task: &T,
    ) -> Result<Written, Errno> {
        if from.is_empty() {
            let end = match options.position() {
                Position::At(pos) => pos,
                Position::Append => self.size(),
            };
            return Ok(Written { bytes: 0, end });
        }
        let strategy = options.strategy().unwrap_or(self.strategy());
        let written = match options.position() {
            Position::At(start) => {
                let request = self.request(token, from, start, strategy, task)?;
                let entry = pin!(self.ranges.request());
                self.write_in_steps(request, Claim::none(entry.as_ref()), first, behind, kept)?
            }
            Position::Append => self.append(token, from, strategy, first, behind, kept, task)?,
        };
        if written.bytes > 0 {
            task.throttle();
            if let Some(kind) = options.sync() {
                let range = written.end - written.bytes as u64..written.end;
                self.fsync_range(token, kind, range, task)?;
            }
        }
        Ok(written)
    }

    /// Goes on where the first attempt ended, if there was one.
    #[cold]
    #[inline(never)]
    fn write_in_steps<'w, 'f: 'w, U: UserMemory<Token: InodeLocks> + ?Sized, T: Task>(
        &'f self,
        request: Request<'w, '_, U, T>,
        claim: Claim<'w, K>,
        first: Option<Attempt>,
        behind: Option<&'w DropBehind<K>>,
        kept: Kept<'w, 'f, K>,
    ) -> Result<Written, Errno> {
        let task = request.task;
        let mut writer = Writer::new(self, request, claim, first, behind, kept);
        let mut stop = writer.overwrite();
        if stop == Err(Stop::MustGrow) {
            writer.claim.release();
            let killed = Caller(task);
            let size_lock = self.lock.lock_killable(self.mapping().cache().wait(), &killed);
            // What was cut off meanwhile is not in the file, and not reported.
            writer.go_back_to_the_cut();
            stop = match size_lock {
                Ok(_held) => writer.grow(),
                Err(errno) => Err(errno.into()),
            };
        }
        writer.finish(stop)
    }

    #[inline(never)] // for the stack of its callers
    #[expect(clippy::too_many_arguments, reason = "a request, and what its open file keeps")]
    fn append<'f, U: UserMemory<Token: InodeLocks> + ?Sized, T: Task>(
        &'f self,
        token: &mut U::Token,
        from: &mut IovIter<'_, U>,
        strategy: Strategy,
        first: Option<Attempt>,
        behind: Option<&DropBehind<K>>,
        kept: Kept<'_, 'f, K>,
        task: &T,
    ) -> Result<Written, Errno> {
        let killed = Caller(task);
        let size_lock = self.lock.lock_killable(self.mapping().cache().wait(), &killed)?;
        let request = self.request(token, from, self.size(), strategy, task)?;
        let entry = pin!(self.ranges.request());
        let claim = Claim::none(entry.as_ref());
        let mut writer = Writer::new(self, request, claim, first, behind, kept);
        let stop = writer.grow();
        let written = writer.finish(stop);
        drop(size_lock);
        written
    }

    /// A request for the bytes of `from` at `start`, clipped to the limits (W8); stamps the times
    /// (W12).
    #[inline(always)]
    fn request<'w, 'i, U: UserMemory + ?Sized, T: Task>(
        &self,
        token: &'w mut U::Token,
        from: &'w mut IovIter<'i, U>,
        start: u64,
        strategy: Strategy,
        task: &'w T,
    ) -> Result<Request<'w, 'i, U, T>, Errno> {
        let asked = from.count();
        from.truncate(limits::clip(self.max_size().get(), start, asked, task)?);
        self.file_modified(task);
        Ok(Request { token, from, task, strategy, start, asked, then: self.size_changes.now() })
    }
}
