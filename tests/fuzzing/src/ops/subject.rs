//! One file on its way: operations by one strategy, and what they must have done.

#![forbid(unsafe_code)]

use std::ops::Range;
use std::sync::Arc;

use faultless_filemap::{
    Dirty, DropBehind, Inode, MsyncKind, NoTask, ReadAhead, Strategy, SyncKind,
};
use faultless_page::{AddressSpaceOperations, Errno, PAGE_SIZE, PageIndex};

use super::super::Plant;
use super::super::contents::{Contents, data, scribble};
use super::durable::Durable;
use super::script::{Answer, BYTES, PAGES, Retention, Step, errno};
use faultless_controls::Control;
use faultless_host::kernel::HostKernel;
use faultless_host::mm_scripted::ScriptedMmu;
use faultless_host::mmu::{Protection, UserFault};
use faultless_host::script::When;
use faultless_host::space::AddressSpace;
use faultless_host::stores::{BlockStore, FaultyStore};
use faultless_host::{Machine, syscall};

/// The pages of a source, and where they end: behind them there is nothing.
pub(super) const SOURCE: usize = PAGES;
/// Where the file is mapped for loads and stores, and where for loads only.
pub(super) const MAPPED: usize = 8;
pub(super) const READ_ONLY: usize = 16;
/// Where reads go.
pub(super) const WINDOW: usize = 24;
/// Pages of an address space.
pub(super) const SPACE: usize = 32;

/// How a subject is built.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// The file's byte at which the script's part of it begins.
    pub(super) origin: usize,
    pub(super) block: usize,
    pub(super) capacity: usize,
    pub(super) plant: Plant,
    /// The old write path that takes the place of production.
    pub(super) control: Option<Control>,
}

/// A file, its store, a program, and the model of all that.
pub(super) struct Subject<'m> {
    pub(super) machine: &'m Machine<ScriptedMmu>,
    pub(super) space: AddressSpace<ScriptedMmu>,
    pub(super) file: Arc<Inode<HostKernel>>,
    pub(super) strategy: Strategy,
    pub(super) shape: Shape,
    pub(super) contents: Contents,
    pub(super) durable: Durable,
    /// Errors that may come, since they were asked for.
    pub(super) excuses: Vec<Errno>,
    /// Errors of what is over, of which the next sync may be the first to tell (F2).
    pub(super) untold: Vec<Errno>,
    /// What can be read of the source.
    pub(super) source: Vec<u8>,
    /// The open file of reads and writes that leave nothing behind.
    pub(super) ahead: ReadAhead<HostKernel>,
    pub(super) behind: DropBehind<HostKernel>,
    blocks: Arc<BlockStore>,
    store: Arc<FaultyStore<BlockStore>>,
}

impl<'m> Subject<'m> {
    pub(super) fn new(machine: &'m Machine<ScriptedMmu>, shape: Shape, strategy: Strategy) -> Self {
        let space = machine.space();
        let blocks = BlockStore::new(shape.block, shape.capacity);
        let store = FaultyStore::new(Arc::clone(&blocks), machine.watchdog());
        let file = machine.inode(&store, 0);
        let mut subject = Self {
            machine,
            space,
            file,
            strategy,
            shape,
            contents: Contents::new(),
            durable: Durable::default(),
            excuses: Vec::new(),
            untold: Vec::new(),
            source: (0..SOURCE * PAGE_SIZE).map(data).collect(),
            ahead: ReadAhead::new(),
            behind: DropBehind::with_pages(2),
            blocks,
            store,
        };
        if shape.capacity < BYTES / shape.block {
            subject.excuses.push(Errno::NoSpace);
        }
        subject.space.map_anonymous(WINDOW, PAGES, Protection::ReadWrite);
        subject.lay_out_source();
        subject.map_file();
        subject.space.sys_truncate(&subject.file, shape.origin as u64).expect("a size");
        subject.space.sys_fsync(&subject.file, SyncKind::All).expect("a store that works");
        subject.durable.all_synced(&subject.contents);
        subject
    }

    /// Whether the subject's answers can be compared with another's: nothing was made to fail.
    pub(super) fn is_exact(&self) -> bool {
        self.excuses.is_empty() && self.untold.is_empty() && self.shape.control.is_none()
    }

    /// Whether a sync may return `errno`: it tells of writebacks that have failed before, too (F2).
    fn may_tell(&self, errno: Errno) -> bool {
        self.excuses.contains(&errno) || self.untold.contains(&errno)
    }

    /// The source is whole again, and resident.
    pub(super) fn lay_out_source(&self) {
        self.space.map_anonymous(0, SOURCE, Protection::ReadWrite);
        self.space.store(self.space.at(0, 0), &self.source).expect("memory");
    }

    /// The file is mapped whole.
    pub(super) fn map_file(&self) {
        let first = PageIndex::containing(self.shape.origin as u64);
        self.space.map_file(MAPPED, PAGES, &self.file, first, Protection::ReadWrite);
        self.space.map_file(READ_ONLY, PAGES, &self.file, first, Protection::Read);
    }

    /// Position in the file of the script's byte `at`.
    pub(super) fn pos(&self, at: usize) -> u64 {
        (self.shape.origin + at) as u64
    }

    fn range(&self, at: usize, len: usize) -> Range<u64> {
        self.pos(at)..self.pos(at + len)
    }

    pub(super) fn end(&self) -> usize {
        self.contents.bytes().len()
    }

    pub(super) fn step(&mut self, step: &Step, number: usize) -> Answer {
        self.machine.check().adopt();
        self.space.script().clear();
        let answer = self.perform(step, number);
        self.durable.changed(&self.contents);
        self.check();
        answer
    }

    fn perform(&mut self, step: &Step, number: usize) -> Answer {
        match *step {
            Step::Write(ref write) => return self.write(write, number, Retention::Kept),
            Step::Read { at, len, split } => {
                return Some(self.read(at.get(self.end()), len.get(), split.get()));
            }
            Step::Store { at, len } => self.store(at.get(self.end()), usize::from(len), number),
            Step::Load { page } => self.load(usize::from(page) % PAGES),
            Step::Truncate(at) => self.truncate(at.get(self.end())),
            Step::Fsync => self.fsync(),
            Step::Writeback { at, len } => self.write_back(at.get(self.end()), len.get()),
            Step::Evict { at, len } => self.drop_pages(at.get(self.end()), len.get()),
            Step::StealAll => self.space.evict(0, SPACE),
            Step::Crash => self.crash(),
            Step::Reorder { seed } => self.store.reorder(u64::from(seed)),
            Step::FailStore { call, nth, .. } => {
                let (call, errno) = (call.call(), errno(step));
                let number = self.store.count(call) + 1 + u64::from(nth % 4);
                self.store.fail(call, When::Nth(number), errno);
                // A read of the page for a copy of user memory finds a bad address.
                self.excuses.extend([errno, Errno::Fault]);
            }
            Step::FailAllocation { nth } => {
                self.machine.memory().fail_allocation(1 + u64::from(nth % 8));
                self.excuses.extend([Errno::NoMemory, Errno::Fault]);
            }
            Step::Heal => self.heal(),
        }
        None
    }

    fn read(&self, at: usize, len: usize, split: usize) -> Result<usize, Errno> {
        let len = len.min(BYTES);
        let split = split.min(len);
        let slices =
            [self.space.slice(WINDOW, 0, split), self.space.slice(WINDOW, split, len - split)];
        let read = self.space.sys_read(&self.file, &slices, self.pos(at));
        self.check_read(at, len, read);
        read
    }

    /// What a read of `len` bytes into the window has come to.
    pub(super) fn check_read(&self, at: usize, len: usize, read: Result<usize, Errno>) {
        match read {
            Ok(got) => {
                let bytes = self.space.read_vec(self.space.at(WINDOW, 0), got).expect("memory");
                let whole = if self.excuses.is_empty() { len } else { got };
                self.contents.check_read(at, whole, &bytes, "a read");
            }
            Err(errno) => assert!(self.excuses.contains(&errno), "a read: {errno}"),
        }
    }

    fn store(&mut self, at: usize, len: usize, number: usize) {
        let page = at / PAGE_SIZE;
        let len = len.min((page + 1) * PAGE_SIZE - at);
        let end = self.end();
        // The old write paths know nothing of what is stored past the end (P2).
        let beyond = self.shape.control.is_some() && at + len > end;
        if at >= BYTES || len == 0 || beyond {
            return;
        }
        let byte = |at: usize| if at < end { data(at + number) } else { scribble(number as u8) };
        let bytes: Vec<u8> = (at..at + len).map(byte).collect();
        let stored = self.space.store(self.space.at(MAPPED, at), &bytes);
        if self.allowed(page, stored, "a store") {
            let stored = bytes.iter().enumerate();
            stored.for_each(|(nth, byte)| self.contents.store(at + nth, *byte));
        }
    }

    fn load(&self, page: usize) {
        for mapping in [MAPPED, READ_ONLY] {
            let mut bytes = vec![0; PAGE_SIZE];
            let loaded = self.space.load(self.space.at(mapping + page, 0), &mut bytes);
            if self.allowed(page, loaded, "a load") {
                self.contents.check_mapped(page, &bytes);
            }
        }
    }

    /// Whether the program's access to a page of the mapping succeeded, which it must where the
    /// file has bytes.
    #[track_caller]
    fn allowed(&self, page: usize, access: Result<(), UserFault>, what: &str) -> bool {
        let inside = page < self.contents.pages();
        match access {
            Ok(()) => assert!(inside, "P6: {what} beyond the end"),
            Err(UserFault::Bus) => assert!(!inside, "{what}: SIGBUS inside the file"),
            Err(UserFault::Error(errno)) => {
                assert!(self.excuses.contains(&errno), "{what}: {errno}");
            }
            Err(UserFault::Segv) => panic!("{what}: SIGSEGV inside the mapping"),
        }
        access.is_ok()
    }

    fn truncate(&mut self, at: usize) {
        match self.space.sys_truncate(&self.file, self.pos(at)) {
            Ok(()) => self.contents.resize(at),
            // Nothing has changed: the size and the bytes are looked at afterwards.
            Err(Errno::NoMemory) if self.excuses.contains(&Errno::NoMemory) => {}
            Err(errno) => panic!("truncation to {at}: {errno}"),
        }
    }

    fn fsync(&mut self) {
        let synced = match self.shape.plant {
            // What is planted: the pages are sent, and the store is not told to keep them.
            Plant::StoreSyncsNothing => {
                syscall(|token| self.file.writeback(token, 0..u64::MAX, &NoTask))
            }
            _ => self.space.sys_fsync(&self.file, SyncKind::All),
        };
        match synced {
            Ok(()) => {
                self.durable.all_synced(&self.contents);
                self.check_store();
            }
            Err(errno) => {
                assert!(self.may_tell(errno), "fsync: {errno}");
                self.durable.maybe_synced(&self.contents);
            }
        }
        self.untold.clear();
    }

    fn write_back(&mut self, at: usize, len: usize) {
        let range = self.range(at, len);
        let syncs = !len.is_multiple_of(2);
        let sent = match syncs {
            false => syscall(|token| self.file.writeback(token, range, &NoTask)),
            true => syscall(|token| self.file.msync(token, range, MsyncKind::Sync, &NoTask)),
        };
        match sent {
            Ok(()) if syncs => self.durable.synced(&self.contents, at..at + len),
            Ok(()) => {}
            Err(errno) => {
                let excused = self.excuses.contains(&errno) || syncs && self.may_tell(errno);
                assert!(excused, "writeback: {errno}");
                self.durable.maybe_synced(&self.contents);
            }
        }
        if syncs {
            self.untold.clear();
        }
    }

    /// Drops pages, or moves one: nothing that was written is lost by it.
    fn drop_pages(&mut self, at: usize, len: usize) {
        let range = self.range(at, len);
        let (file, task) = (&self.file, &NoTask);
        let whole = |range: &Range<u64>| {
            let page = PAGE_SIZE as u64;
            range.start - range.start % page..range.end.next_multiple_of(page)
        };
        let evict = || {
            let _how_many = syscall(|token| file.evict(token, range.clone()));
            Ok(())
        };
        let ended = match len % 4 {
            // The old write paths know of nothing else.
            _ if self.shape.control.is_some() => evict(),
            1 => {
                let dirty = Dirty::WriteBack;
                syscall(|token| file.invalidate(token, range.clone(), dirty, task)).map(|()| {
                    let left = file.residency(range).cached;
                    assert_eq!(left, 0, "pages stay after an invalidation");
                })
            }
            2 => self.migrate(at),
            3 if range.end <= file.size() => {
                let written =
                    syscall(|token| file.direct_write(token, range.clone(), task, |_| ()));
                written.map(|written| {
                    assert!(!written.stale, "no page is in use");
                    let left = file.residency(whole(&range)).cached;
                    assert_eq!(left, 0, "pages stay after a direct write");
                })
            }
            _ => evict(),
        };
        if let Err(errno) = ended {
            assert!(self.excuses.contains(&errno), "dropping pages: {errno}");
            self.durable.maybe_synced(&self.contents);
        }
    }

    /// Moves the page of a byte to another frame.
    fn migrate(&self, at: usize) -> Result<(), Errno> {
        let frame = self.machine.cache().allocate(1)?.take_first().ok_or(Errno::NoMemory)?;
        let index = PageIndex::containing(self.pos(at));
        let before = self.file.residency(index.start()..index.plus(1).start());
        let moved = syscall(|token| self.file.migrate(token, index, frame, &NoTask));
        let after = self.file.residency(index.start()..index.plus(1).start());
        assert_eq!(before, after, "marks change by a migration");
        match moved.map_err(|stayed| stayed.errno) {
            // It is not in the cache, or its read has failed.
            Err(Errno::Invalid) => Ok(()),
            moved => moved,
        }
    }

    /// The store has what the file has.
    fn check_store(&self) {
        let stored = self.blocks.contents();
        let (hole, rest) = stored.split_at(self.shape.origin.min(stored.len()));
        assert!(is_zero(hole), "W5: the store has data in a hole");
        self.contents.check_all(rest, "the store");
    }

    /// The machine stops. What is left of the file is on the store.
    fn crash(&mut self) {
        self.heal_without_sync();
        self.space.unmap(MAPPED, PAGES);
        self.space.unmap(READ_ONLY, PAGES);
        self.store.crash();
        // What the store owes before it is opened again: no data past the size that it recorded.
        self.blocks.truncate_blocks(self.blocks.size());
        self.file = self.machine.inode(&self.store, self.blocks.size());
        // Another inode, to which nothing has happened yet.
        self.untold.clear();
        self.map_file();
        let found = self.whole();
        self.durable.check(&found);
        self.contents.resize(0);
        self.contents.put(0, &found);
        self.durable.all_synced(&self.contents);
    }

    /// The script's part of the file, by read. Before it there is a hole, of which the end is
    /// looked at.
    fn whole(&self) -> Vec<u8> {
        let before = self.shape.origin - self.shape.origin.min(PAGE_SIZE);
        let (mut bytes, mut pos) = (Vec::new(), before);
        loop {
            let slice = self.space.slice(WINDOW, 0, BYTES);
            let read = self.space.sys_read(&self.file, &[slice], pos as u64);
            let got = read.expect("a store that works");
            if got == 0 {
                break;
            }
            bytes.extend(self.space.read_vec(slice.addr(), got).expect("memory"));
            pos += got;
        }
        let hole = (self.shape.origin - before).min(bytes.len());
        let rest = bytes.split_off(hole);
        assert!(is_zero(&bytes), "W5: data in a hole");
        rest
    }

    /// Takes what the file holds in `range` for what it ought to hold there. Elsewhere nothing has
    /// changed.
    pub(super) fn adopt(&mut self, range: Range<usize>) {
        self.heal_without_sync();
        let found = self.whole();
        let was = self.contents.bytes();
        let (start, end) = (range.start.min(found.len()), range.end.min(found.len()));
        for at in (0..start).chain(end..found.len()) {
            let expected = was.get(at).copied().unwrap_or(0);
            assert_eq!(found[at], expected, "W2: byte {at}, which was not written");
        }
        assert!(found.len() >= was.len(), "W3: the file has shrunk");
        if found.len() > was.len() {
            self.contents.resize(found.len());
        }
        self.contents.put(start, &found[start..end]);
    }

    /// Nothing fails any more. What has failed may not have been told yet.
    fn heal_without_sync(&mut self) {
        self.store.heal();
        self.machine.memory().stop_failing();
        self.space.script().clear();
        let full = self.shape.capacity < BYTES / self.shape.block;
        self.untold.extend(&self.excuses);
        self.excuses.retain(|errno| full && *errno == Errno::NoSpace);
    }

    /// Nothing fails any more. Errors of before are told once.
    fn heal(&mut self) {
        self.heal_without_sync();
        self.fsync();
        self.fsync();
    }

    pub(super) fn check(&self) {
        assert_eq!(self.file.size(), self.pos(self.end()), "W3: size");
        let past = self.blocks.blocks_past(self.pos(self.end()));
        assert_eq!(past, 0, "W9: blocks past the end");
        let complaints = self.blocks.complaints();
        assert!(complaints.is_empty(), "W9, P2: {complaints:?}");
    }

    /// The file is what it ought to be: by read, by mapping, on the store, and after a crash.
    pub(super) fn finish(mut self) {
        self.machine.check().adopt();
        self.heal();
        let _ = self.read(0, BYTES, BYTES / 3);
        (0..PAGES).for_each(|page| self.load(page));
        self.fsync();
        let _ = syscall(|token| self.file.evict(token, 0..u64::MAX));
        assert_eq!(self.file.mapping().cached_pages(), 0, "a page stays in the cache");
        self.contents.check_all(&self.whole(), "the file, read back");
        self.check();
        self.crash();
    }
}

/// Whether all bytes are zero: none differs from the one before.
fn is_zero(bytes: &[u8]) -> bool {
    bytes.first().is_none_or(|first| *first == 0 && bytes[1..] == bytes[..bytes.len() - 1])
}
