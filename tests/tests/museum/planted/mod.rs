//! A small write path with one planted bug at a time, for the exhibits to fail on.
//!
//! It is strategy B as plainly as can be: one page a round, one writer at a time, no temporary
//! page. Without a bug it does what the contract asks of a source that holds still. It never faults
//! under a page lock: that is the business of the controls.

mod bug;
mod old;
mod page;

use faultless::filemap::{Inode, PageLocks, Position, Task, WriteOptions};
use faultless::page::{
    AddressSpaceOperations, Errno, MAX_FILE_SIZE, PAGE_SIZE, PageIndex, PageRun, UserMappings,
};
use faultless::usercopy::{IovIter, MayFault, UserMemory, UserSlice};
use faultless_tests::Kernel;

use self::page::Page;
use crate::failure::Failure;

pub(crate) use self::bug::Bug;
pub(crate) use self::old::{
    OldSync, bring_in_all, evict, evict_what_was_clean, lock_all_at_once, read_again,
    read_until_uptodate, send_clean, size_changed,
};

/// A request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'s> {
    pub(crate) bug: Bug,
    pub(crate) segments: &'s [UserSlice],
    pub(crate) options: &'s WriteOptions,
    /// Rounds after which it counts as endless.
    pub(crate) steps: u64,
}

/// Where A3's path stands: a segment, and how far in it.
#[derive(Clone, Copy, Debug)]
struct Raw<'s> {
    segments: &'s [UserSlice],
    offset: usize,
}

impl Raw<'_> {
    fn current(&self) -> UserSlice {
        self.segments.first().map_or(UserSlice::EMPTY, |segment| segment.skip(self.offset))
    }

    fn advance(&mut self, bytes: usize) {
        self.offset += bytes;
        if bytes > 0 && self.current().is_empty() {
            *self = Self { segments: self.segments.get(1..).unwrap_or_default(), offset: 0 };
        }
    }
}

struct Writer<'w, 'i, U: UserMemory> {
    bug: Bug,
    inode: &'w Inode<Kernel>,
    token: &'w mut MayFault,
    user: &'w U,
    from: &'w mut IovIter<'i, U>,
    raw: Raw<'w>,
    pos: u64,
    written: usize,
    steps: u64,
    /// What the last fault-in could reach, or the last copy.
    reachable: usize,
    old_size: u64,
}

/// Writes `from`, which stands at the beginning of the request's segments.
pub(crate) fn write<U: UserMemory<Token = MayFault>, T: Task>(
    request: &Request<'_>,
    inode: &Inode<Kernel>,
    token: &mut MayFault,
    user: &U,
    from: &mut IovIter<'_, U>,
    task: &T,
) -> Result<usize, Failure> {
    let bug = request.bug;
    if bug == Bug::ProbesAnEmptyRequest
        && let Some(first) = request.segments.first()
    {
        let byte = UserSlice::new(user, first.addr(), 1).map_err(|_| Errno::Fault)?;
        if user.fault_in_readable(token, byte) > 0 {
            return Err(Errno::Fault.into());
        }
    }
    if from.is_empty() {
        return Ok(0);
    }
    let old_size = inode.size();
    let pos = match request.options.position() {
        Position::At(pos) => pos,
        Position::Append => old_size,
    };
    let asked = from.count();
    if bug != Bug::NoLimitIsALimit {
        let room = inode.mapping().store().max_size().min(MAX_FILE_SIZE).saturating_sub(pos);
        if room == 0 {
            return Err(Errno::FileTooBig.into());
        }
        from.truncate(usize::try_from(room).unwrap_or(usize::MAX));
    }
    let room = task.file_size_limit().saturating_sub(pos);
    if room == 0 {
        task.file_size_exceeded();
        return Err(Errno::FileTooBig.into());
    }
    from.truncate(usize::try_from(room).unwrap_or(usize::MAX));
    let raw = Raw { segments: request.segments, offset: 0 };
    let (steps, reachable) = (request.steps, usize::MAX);
    let mut writer =
        Writer { bug, inode, token, user, from, raw, pos, written: 0, steps, reachable, old_size };
    let stop = writer.run();
    writer.finish(stop, asked)
}

/// Bytes of `[pos, pos + len)` that lie in the first page.
fn in_page(pos: u64, len: usize) -> usize {
    PageRun::single(PageIndex::containing(pos)).clip_len(pos, len)
}

impl<'w, U: UserMemory<Token = MayFault>> Writer<'w, '_, U> {
    fn store(&self) -> &'w dyn AddressSpaceOperations {
        self.inode.mapping().store()
    }

    fn run(&mut self) -> Result<(), Failure> {
        if self.bug == Bug::GrowsFirst {
            self.inode.mapping().truncate_size(self.pos + self.from.count() as u64);
        }
        if self.bug == Bug::StaleMapping {
            self.begin_everything()?;
        }
        self.hide_scribbles();
        let mut again = false;
        while !self.from.is_empty() {
            self.steps = self.steps.checked_sub(1).ok_or(Failure::Livelock)?;
            if !self.look_ahead()? {
                continue;
            }
            let mut len = in_page(self.pos, self.from.count().min(self.reachable));
            if self.bug == Bug::StuckOnEmpty {
                len = len.min(self.raw.current().len());
            }
            let landed = if len == 0 { 0 } else { self.piece(len)? };
            if landed > 0 {
                self.pos += landed as u64;
                self.written += landed;
                self.raw.advance(landed);
                self.reachable = usize::MAX;
                if self.bug == Bug::WritesAgain && !again && !self.from.is_empty() {
                    again = true;
                    self.from.revert(self.written);
                    self.pos -= self.written as u64;
                    self.written = 0;
                }
            } else if self.reachable >= len {
                self.fault_in(len)?;
            }
        }
        Ok(())
    }

    /// What some bugs do before each round. Whether the round may go on.
    fn look_ahead(&mut self) -> Result<bool, Failure> {
        let rest = self.from.count();
        match self.bug {
            Bug::WholeRequestOrNothing => match self.missed(rest) {
                0 => Ok(true),
                _ => Err(Errno::Fault.into()),
            },
            Bug::FaultsInTheRest => {
                self.missed(rest);
                Ok(true)
            }
            Bug::InnerWantsAll => {
                let window = rest.min(16 * PAGE_SIZE);
                match self.missed(window) {
                    0 => Ok(true),
                    missed if missed < window => Ok(false),
                    _ => Err(Errno::Fault.into()),
                }
            }
            _ => Ok(true),
        }
    }

    /// Faults in; how many of the next `len` bytes could not be reached.
    fn missed(&mut self, len: usize) -> usize {
        self.from.fault_in_readable(self.token, len)
    }

    fn fault_in(&mut self, len: usize) -> Result<(), Failure> {
        let missed = match self.bug {
            Bug::NeverFaultsIn => len,
            Bug::StuckOnEmpty => {
                let current = self.raw.current().prefix(len);
                let missed = self.user.fault_in_readable(self.token, current);
                if current.is_empty() { return Ok(()) } else { missed }
            }
            Bug::ProbesTheEnds => {
                let mut last = self.from.clone();
                last.advance(len - 1);
                let ends = self.missed(1) + last.fault_in_readable(self.token, 1);
                if ends == 0 { 0 } else { len }
            }
            _ => self.missed(len),
        };
        match self.bug {
            Bug::IgnoresTheProbe => return Ok(()),
            _ if missed >= len => return Err(Errno::Fault.into()),
            Bug::KeepsTheLength | Bug::ProbesTheEnds => {}
            _ => self.reachable = len - missed,
        }
        Ok(())
    }

    /// One page. How many bytes landed.
    fn piece(&mut self, len: usize) -> Result<usize, Failure> {
        let mapping = self.inode.mapping();
        let index = PageIndex::containing(self.pos);
        let frame = mapping.cache().allocate(1)?.take_first();
        let locked = page::lock(mapping, self.token.page_locks(), index, frame)?;
        let page = Page::begin(self.bug, locked, self.pos, len)?;
        let (len, copied) = (page.len(), page.copy(self.from));
        let landed = page.end(copied, self.from.count());
        if self.bug != Bug::NoRevert {
            self.from.revert(copied - landed.accepted);
        }
        if landed.accepted == 0 && copied > 0 && self.bug != Bug::ProbesTheEnds {
            // As much can be had: next time the rest of the page is defined first.
            self.reachable = copied;
        }
        let mut more = landed.imagined;
        if self.bug == Bug::AdvancesByAsked && landed.accepted > 0 {
            more = len - landed.accepted;
        }
        self.from.advance(more);
        Ok(landed.accepted + more)
    }

    /// C11: room for every page, and the source, long before they are needed.
    fn begin_everything(&mut self) -> Result<(), Failure> {
        let (mut pos, end) = (self.pos, self.pos + self.from.count() as u64);
        while pos < end {
            let len = in_page(pos, (end - pos) as usize);
            let begun = self.store().write_begin(pos, len)?;
            let granted = begun.len.clamp(1, len);
            self.store().write_end(pos, granted, granted);
            pos += granted as u64;
        }
        self.missed(self.from.count());
        Ok(())
    }

    /// P2: the bytes past the old end become zeros before they become the file's.
    fn hide_scribbles(&mut self) {
        let (size, mapping) = (self.old_size, self.inode.mapping());
        let index = PageIndex::containing(size);
        let grows = self.pos + self.from.count() as u64 > size && size > index.start();
        if !grows || self.bug == Bug::IgnoresScribbles {
            return;
        }
        let run = PageRun::single(index);
        if let Some(mut locked) = mapping.lock(self.token.page_locks(), run)
            && locked.present().intersects(locked.wrote_past_eof())
        {
            locked.zero(size, (index.plus(1).start() - size) as usize);
        }
        mapping.user_mappings().write_protect(mapping.id(), index, index.plus(1));
    }

    /// Gives back what lies past the end, and says what the call returns.
    fn finish(self, stop: Result<(), Failure>, asked: usize) -> Result<usize, Failure> {
        let (mapping, size) = (self.inode.mapping(), self.inode.size());
        let trims = match self.bug {
            Bug::NoTrim | Bug::StaleMapping => false,
            Bug::TrimOnlyWithoutGrowth => size == self.old_size,
            _ => true,
        };
        if trims {
            let run = PageRun::single(PageIndex::containing(size));
            if self.bug != Bug::KeepsBacked
                && let Some(mut locked) = mapping.lock(self.token.page_locks(), run)
            {
                locked.clear_reserved(locked.mask());
            }
            mapping.store().truncate_blocks(size);
        }
        if size != self.old_size {
            mapping.store().set_size(size);
        }
        if self.bug != Bug::ForgetsTheClip {
            self.from.reexpand(asked - self.written);
        }
        match (stop, self.bug) {
            (Err(Failure::Livelock), _) => Err(Failure::Livelock),
            (Err(failure), Bug::ErrorBeatsProgress | Bug::GrowsFirst) => Err(failure),
            (Err(failure), _) if self.written == 0 => Err(failure),
            (Err(_), Bug::CountsAsked) => Ok(asked),
            _ => Ok(self.written),
        }
    }
}
