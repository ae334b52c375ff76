//! Faultless as one of the systems: the core on the real MMU, with the system calls that an
//! embedder would put around it.

#![forbid(unsafe_code)]

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use faultless_filemap::{Inode, NoTask, OpenFile, OpenFlags, Task, WriteOptions};
use faultless_page::{AddressSpaceOperations, Errno, Fallocate, PAGE_SIZE, PageIndex, Shift};
use faultless_usercopy::{
    IovIter, IovecError, MAX_SEGMENTS, MayFault, USER_IOVEC_BYTES, UserAddr, UserMemory, UserSlice,
    import_iovec,
};

use super::op::{At, Backing, Bytes, Case, Form, GUARD, Op, OpenMode, Transfer, WINDOW, pattern};
use super::process;
use super::system::{Answer, Signal, System};
use faultless_controls::{Control, ControlFile, Defects, Failure, Request};
use faultless_host::kernel::{Checked, HostKernel};
use faultless_host::mm_real::RealMmu;
use faultless_host::mmu::{Protection, UserFault};
use faultless_host::space::AddressSpace;
use faultless_host::stores::{BlockStore, FileStore, HookedStore, MemoryStore};
use faultless_host::{MachineConfig, RealMachine};

/// Pages of memory that are the oracle's own: for vectors, and for the file's bytes.
const SCRATCH: usize = 24;
/// The first of them, behind the window and its guard.
const FIRST_SCRATCH: usize = WINDOW + GUARD;
/// Pages of the device under a file of blocks.
const DEVICE_PAGES: usize = 160;
/// Rounds after which a planted bug is taken for an endless loop.
const STEPS: u64 = 5_000;

/// Faultless.
#[derive(Debug)]
pub(super) struct Faultless {
    machine: RealMachine,
    space: AddressSpace<RealMmu>,
    /// The file behind [`Backing::HostFile`].
    host_file: File,
    world: World,
    planted: Option<Defects>,
}

/// What belongs to one case.
#[derive(Debug)]
struct World {
    inode: Arc<Inode<HostKernel<Checked>>>,
    open: OpenFile,
    task: Limited,
    blocks: Option<Arc<BlockStore>>,
    /// What is mapped: `mprotect` changes nothing else.
    mapped: [bool; WINDOW],
}

/// The program, as far as writes care.
#[derive(Debug)]
struct Limited {
    limit: u64,
    signals: Cell<u32>,
}

impl Task for Limited {
    fn file_size_limit(&self) -> u64 {
        self.limit
    }

    fn file_size_exceeded(&self) {
        self.signals.set(self.signals.get() + 1);
    }
}

impl Faultless {
    /// A machine of its own; `folder` is where the file of [`Backing::HostFile`] lies.
    pub(super) fn new(folder: &Path, planted: Option<Defects>) -> io::Result<Self> {
        let machine = RealMachine::with(MachineConfig::new().frames(1024));
        let space = machine.space_of(FIRST_SCRATCH + SCRATCH + GUARD);
        space.map_anonymous(FIRST_SCRATCH, SCRATCH, Protection::ReadWrite);
        let world = World {
            inode: machine.inode(&MemoryStore::new(), 0),
            open: OpenFile::default(),
            task: Limited { limit: u64::MAX, signals: Cell::new(0) },
            blocks: None,
            mapped: [false; WINDOW],
        };
        let host_file = process::unlinked_file(folder)?;
        Ok(Self { machine, space, host_file, world, planted })
    }

    /// What the machine itself found wrong in this case: the lock checker, the store of blocks.
    pub(super) fn complaint(&self) -> Option<String> {
        if let Some(report) = self.machine.check().take_report() {
            return Some(format!("the lock checker: {report}"));
        }
        let blocks = self.world.blocks.as_ref()?;
        blocks.complaints().first().map(|complaint| format!("the store: {complaint}"))
    }

    /// Ends the machine and checks that it got everything back (P5).
    pub(super) fn finish(self) {
        let Self { machine, space, world, .. } = self;
        drop(space);
        drop(world);
        machine.finish();
    }

    fn store(&mut self, case: &Case) -> Arc<dyn AddressSpaceOperations> {
        self.world.blocks = None;
        match case.backing {
            Backing::Memory => MemoryStore::new(),
            Backing::Blocks(size) => {
                let blocks = BlockStore::new(size, DEVICE_PAGES * (PAGE_SIZE / size));
                self.world.blocks = Some(Arc::clone(&blocks));
                blocks
            }
            Backing::HostFile => {
                self.host_file.set_len(0).expect("an empty file");
                let file = self.host_file.try_clone().expect("a descriptor");
                FileStore::new(file).expect("a file")
            }
        }
    }

    /// Lets `work` have the request's segments, as a kernel sees them, or says why not.
    fn request<R>(
        &mut self,
        transfer: &Transfer,
        work: impl FnOnce(&mut World, &mut MayFault, &AddressSpace<RealMmu>, &[UserSlice]) -> R,
    ) -> Result<R, Errno> {
        let (window, end) = (self.space.at(0, 0).get(), self.space.user_range().end);
        let address = |place: super::op::Place| place.address(window, end);
        let vector = match transfer.form {
            Form::LostVector => self.space.at(WINDOW, 0),
            Form::Plain | Form::Vector => self.space.at(FIRST_SCRATCH, 0),
        };
        if transfer.form == Form::Vector {
            let segments: Vec<(usize, usize)> =
                transfer.segments.iter().map(|s| (address(s.place), s.len)).collect();
            self.space.store_vector(vector, &segments).expect("scratch memory");
        }
        let (world, space) = (&mut self.world, &self.space);
        self.machine.syscall(|token| match (transfer.form, transfer.segments.first()) {
            (Form::Plain, Some(segment)) => {
                let addr = UserAddr::new(address(segment.place));
                let slice = UserSlice::new(space, addr, segment.len).map_err(|_| Errno::Fault)?;
                Ok(work(world, token, space, &[slice]))
            }
            _ => {
                let count = transfer.segments.len();
                let mut room = vec![UserSlice::EMPTY; MAX_SEGMENTS];
                let _ =
                    import_iovec(space, token, vector, count, &mut room).map_err(|e| match e {
                        IovecError::Invalid => Errno::Invalid,
                        IovecError::Fault => Errno::Fault,
                    })?;
                Ok(work(world, token, space, &room[..count]))
            }
        })
    }

    fn write(&mut self, transfer: &Transfer) -> Answer {
        let planted = self.planted;
        let result = self.request(transfer, |world, token, space, segments| {
            if let Some(defects) = planted {
                return world.write_by_control(defects, transfer.at, token, space, segments);
            }
            let mut from = IovIter::new(space, segments).map_err(|_| Errno::Invalid)?;
            let World { inode, open, task, .. } = world;
            Ok(match transfer.at {
                At::Position => open.write(inode, token, &mut from, task)?,
                At::Offset(pos) => open.write_at(inode, token, &mut from, pos, task)?,
            })
        });
        match result {
            Ok(Err(Failure::Livelock)) => Answer::Endless,
            Ok(Ok(bytes)) => Answer::Count(bytes),
            Ok(Err(Failure::Errno(errno))) | Err(errno) => Answer::Errno(errno.code()),
        }
    }

    fn read(&mut self, transfer: &Transfer) -> Answer {
        let result = self.request(transfer, |world, token, space, segments| {
            let mut to = IovIter::new(space, segments).map_err(|_| Errno::Invalid)?;
            let World { inode, open, task, .. } = world;
            match transfer.at {
                At::Position => open.read(inode, token, &mut to, task),
                At::Offset(pos) => inode.read(token, &mut to, pos, task),
            }
        });
        match result {
            Ok(Ok(bytes)) => Answer::Count(bytes),
            Ok(Err(errno)) | Err(errno) => Answer::Errno(errno.code()),
        }
    }

    fn map_private(&mut self, page: usize, pages: usize, protection: Protection, seed: u64) {
        self.space.map_anonymous(page, pages, Protection::ReadWrite);
        let bytes = pattern(seed, pages * PAGE_SIZE);
        self.space.store(self.space.at(page, 0), &bytes).expect("memory");
        self.space.protect(page, pages, protection);
        self.world.mapped[page..page + pages].fill(true);
    }

    fn chill(&mut self) {
        let inode = &self.world.inode;
        self.machine.syscall(|token| {
            inode.writeback(token, 0..u64::MAX, &NoTask).expect("room in the store");
            inode.evict(token, 0..u64::MAX);
        });
    }

    fn load_bytes(&self, at: Bytes) -> Answer {
        match self.space.read_vec(self.space.at(at.page, at.offset), at.len) {
            Ok(bytes) => Answer::Loaded(bytes),
            Err(fault) => stopped(fault),
        }
    }

    fn store_bytes(&self, at: Bytes, seed: u64) -> Answer {
        let bytes = pattern(seed, at.len);
        match self.space.store(self.space.at(at.page, at.offset), &bytes) {
            Ok(()) => Answer::Done,
            Err(fault) => stopped(fault),
        }
    }

    fn scratch(&self, len: usize) -> UserSlice {
        self.space.slice(FIRST_SCRATCH, 0, len)
    }
}

impl World {
    /// A write by the historical control, with its defects.
    fn write_by_control(
        &mut self,
        defects: Defects,
        at: At,
        token: &mut MayFault,
        space: &AddressSpace<RealMmu>,
        segments: &[UserSlice],
    ) -> Result<usize, Failure> {
        let pos = match at {
            At::Position => self.open.position(),
            At::Offset(pos) => pos,
        };
        let request = Request {
            control: Control::Linux2624Rc1(defects),
            segments,
            options: self.open.write_options(pos),
            steps: STEPS,
        };
        let written = ControlFile::new(&*self.inode).write(&request, token, space, &self.task)?;
        if at == At::Position && written.bytes > 0 {
            self.open.seek(written.end)?;
        }
        Ok(written.bytes)
    }
}

impl System for Faultless {
    fn begin(&mut self, case: &Case) {
        self.space.unmap(0, WINDOW);
        let store = Arc::new(HookedStore::new(self.store(case)).with_strategy(case.strategy));
        self.world.inode = self.machine.inode(&store, 0);
        let flags = match case.mode {
            OpenMode::Plain => OpenFlags::empty(),
            OpenMode::Append => OpenFlags::APPEND,
        };
        self.world.open = OpenFile::new(&self.world.inode, flags);
        let limit = case.limit.unwrap_or(u64::MAX);
        self.world.task = Limited { limit, signals: Cell::new(0) };
        self.world.mapped = [false; WINDOW];
    }

    fn apply(&mut self, op: &Op) -> Answer {
        match *op {
            Op::Write(ref transfer) => return self.write(transfer),
            Op::Read(ref transfer) => return self.read(transfer),
            Op::MapPrivate { page, pages, protection, seed } => {
                self.map_private(page, pages, protection, seed);
            }
            Op::MapFile { page, pages, protection, first } => {
                let first = PageIndex::new(first);
                self.space.map_file(page, pages, &self.world.inode, first, protection);
                self.world.mapped[page..page + pages].fill(true);
            }
            Op::Unmap { page, pages } => {
                self.space.unmap(page, pages);
                self.world.mapped[page..page + pages].fill(false);
            }
            Op::Protect { page, pages, protection } => {
                for page in (page..page + pages).filter(|page| self.world.mapped[*page]) {
                    self.space.protect(page, 1, protection);
                }
            }
            Op::Truncate(size) => {
                let World { inode, task, .. } = &self.world;
                let result = self.machine.syscall(|token| inode.set_size(token, size, task));
                return result.map_or_else(|e| Answer::Errno(e.code()), |()| Answer::Done);
            }
            Op::Fallocate { change, at, len, size } => {
                let (World { inode, task, .. }, range) = (&self.world, at..at + len);
                let result = self.machine.syscall(|token| match change {
                    Fallocate::Allocate => inode.allocate(token, range, size, task),
                    Fallocate::PunchHole => inode.punch_hole(token, range, task),
                    Fallocate::ZeroRange => inode.zero_range(token, range, size, task),
                });
                return result.map_or_else(|e| Answer::Errno(e.code()), |()| Answer::Done);
            }
            Op::Shift { shift, at, len } => {
                let (World { inode, task, .. }, range) = (&self.world, at..at + len);
                let result = self.machine.syscall(|token| match shift {
                    Shift::Collapse => inode.collapse_range(token, range, task),
                    Shift::Insert => inode.insert_range(token, range, task),
                });
                return result.map_or_else(|e| Answer::Errno(e.code()), |()| Answer::Done);
            }
            Op::Seek(pos) => {
                let result = self.world.open.seek(pos);
                return result.map_or_else(|e| Answer::Errno(e.code()), |()| Answer::Done);
            }
            Op::Store { at, seed } => return self.store_bytes(at, seed),
            Op::Load(at) => return self.load_bytes(at),
            Op::Chill => self.chill(),
            Op::Steal { page, pages } => self.space.evict(page, pages),
            Op::Compare => {}
        }
        Answer::Done
    }

    fn over_limit(&mut self) -> u32 {
        self.world.task.signals.take()
    }

    fn size(&self) -> u64 {
        self.world.inode.size()
    }

    fn position(&self) -> u64 {
        self.world.open.position()
    }

    fn peek(&mut self, pos: u64, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len);
        while bytes.len() < len {
            let piece = self.scratch((len - bytes.len()).min(SCRATCH * PAGE_SIZE));
            let at = pos + bytes.len() as u64;
            let got = self.space.sys_read(&self.world.inode, &[piece], at).expect("a file");
            if got == 0 {
                break;
            }
            bytes.extend(self.space.read_vec(piece.addr(), got).expect("scratch memory"));
        }
        bytes
    }

    fn poke(&mut self, pos: u64, bytes: &[u8]) {
        for (nth, piece) in bytes.chunks(SCRATCH * PAGE_SIZE).enumerate() {
            let source = self.scratch(piece.len());
            self.space.store(source.addr(), piece).expect("scratch memory");
            let at = WriteOptions::at(pos + (nth * SCRATCH * PAGE_SIZE) as u64);
            let written = self.space.sys_write(&self.world.inode, &[source], &at);
            assert_eq!(written.map(|written| written.bytes), Ok(piece.len()), "a poke");
        }
    }
}

fn stopped(fault: UserFault) -> Answer {
    match fault {
        UserFault::Segv => Answer::Stopped(Signal::Segv),
        UserFault::Bus => Answer::Stopped(Signal::Bus),
        UserFault::Error(errno) => Answer::Errno(errno.code()),
    }
}

// A vector of the largest number of segments that the generator makes fits in the scratch memory.
const _: () = assert!((MAX_SEGMENTS + 1) * USER_IOVEC_BYTES <= SCRATCH * PAGE_SIZE);
