//! The tail of a file: block sizes, its end, holes, short copies, scribbles past the end, stale
//! frames and stale blocks.
//!
//! Everything that a read, a mapping or the store shows is compared with [`Contents`], which knows
//! the one legal value of each byte, but past the end the two. Frames are poisoned when they are
//! freed, blocks before they are written.

mod store;

use std::cell::Cell;

use arbitrary::{Arbitrary, Unstructured};
use faultless_filemap::{Inode, NoTask, Strategy, SyncKind, WriteOptions};
use faultless_page::{Errno, PAGE_SIZE, PageIndex};
use faultless_usercopy::IovIter;

use self::store::{BYTES, FlatStore, PAGES, Shape};
use super::Plant;
use super::contents::{Contents, data, scribble};
use super::planted_user::PlantedUser;
use super::reuse::reuse;
use super::show::show;
use faultless_host::kernel::{Bare, HostKernel};
use faultless_host::mm_scripted::ScriptedMmu;
use faultless_host::mmu::{Protection, UserFault};
use faultless_host::script::{Action, Event, When};
use faultless_host::space::AddressSpace;
use faultless_host::{Machine, MachineConfig, syscall};

type Kernel = HostKernel<Bare>;

/// Where the source ends: behind it there is nothing.
const SOURCE_END: usize = PAGES;
/// Where the file is mapped.
const MAPPED: usize = 8;
/// Where reads go.
const WINDOW: usize = 16;
/// Pages of the address space.
const SPACE: usize = 24;
const STEPS: usize = 10;
/// The least that a store grants when it grants little: less would only take longer.
const LEAST_GRANT: usize = 100;

/// A place in the file.
#[derive(Clone, Copy, Debug, Arbitrary)]
enum Place {
    /// So far from the end.
    End(i8),
    /// So far from the begin of a page.
    Edge(u8, i8),
    /// So many blocks of 512 bytes, and a bit.
    Block(u8, i8),
    Any(u16),
}

#[derive(Clone, Copy, Debug, Arbitrary)]
enum Length {
    Few(u8),
    Page(i8),
    Many(u16),
}

#[derive(Clone, Copy, Debug, Arbitrary)]
enum Step {
    /// Writes; so many of the bytes can be read, if not all.
    Write {
        at: Place,
        len: Length,
        readable: Option<Length>,
        trouble: Trouble,
    },
    Read {
        at: Place,
        len: Length,
    },
    /// The program stores through the mapping.
    Store {
        at: Place,
        len: u8,
    },
    /// The program looks at a page of the mapping.
    Load {
        page: u8,
    },
    Truncate {
        at: Place,
    },
    Sync,
    Evict,
    /// The source stops being resident.
    StealSource,
    /// An allocation fails.
    FailAllocation {
        nth: u8,
    },
}

/// What happens to the copy of a write.
#[derive(Clone, Copy, Debug, Arbitrary)]
enum Trouble {
    None,
    Short { nth: u8, bytes: u16 },
    Steal { nth: u8 },
    Lie,
}

impl Length {
    fn get(self) -> usize {
        match self {
            Self::Few(len) => usize::from(len),
            Self::Page(by) => PAGE_SIZE.wrapping_add_signed(isize::from(by)),
            Self::Many(len) => usize::from(len) % BYTES,
        }
    }
}

/// What runs share.
struct Setting {
    machine: Machine<ScriptedMmu, Bare>,
    space: AddressSpace<ScriptedMmu, Bare>,
    source: Vec<u8>,
}

impl Setting {
    fn new() -> Self {
        let config = MachineConfig::new().frames(64).space_pages(SPACE);
        let machine: Machine<ScriptedMmu, Bare> = Machine::build(config);
        let space = machine.space();
        space.map_anonymous(0, SOURCE_END, Protection::ReadWrite);
        space.map_anonymous(WINDOW, PAGES, Protection::ReadWrite);
        space.populate(0, SOURCE_END).expect("memory");
        space.populate(WINDOW, PAGES).expect("memory");
        let source: Vec<u8> = (0..BYTES).map(data).collect();
        space.store(space.at(0, 0), &source).expect("memory");
        Self { machine, space, source }
    }
}

thread_local! {
    static SETTING: Cell<Option<Setting>> = const { Cell::new(None) };
}

pub(super) fn body(input: &mut Unstructured<'_>, plant: Plant) -> arbitrary::Result<()> {
    reuse(&SETTING, Setting::new, |setting| play(setting, input, plant))
}

fn play(setting: &Setting, input: &mut Unstructured<'_>, plant: Plant) -> arbitrary::Result<()> {
    let (machine, space) = (&setting.machine, &setting.space);
    machine.check().adopt();
    machine.memory().stop_failing();
    machine.memory().stop_reclaiming();
    space.script().clear();
    // The last byte of the input, which nothing else depends on.
    let reclaims = input.peek_bytes(input.len()).and_then(<[u8]>::last).map_or(0, |last| last >> 5);
    let block = 512 << input.int_in_range(0..=3)?;
    let all = BYTES / block;
    // As a rule there is room for everything.
    let capacity = if input.ratio(1, 4)? { input.int_in_range(0..=all)? } else { all };
    let longest = match input.ratio(1, 8)? {
        true => LEAST_GRANT + usize::from(input.arbitrary::<u16>()?) % BYTES,
        false => BYTES,
    };
    let strategy = if input.arbitrary()? { Strategy::PrepareCommit } else { Strategy::BeginEnd };
    let shape = Shape { block, capacity, longest };
    let store = FlatStore::new(shape, plant);
    let file = machine.inode(&store, 0);
    space.map_file(MAPPED, PAGES, &file, PageIndex::ZERO, Protection::ReadWrite);
    show(format_args!("{shape:?}, {strategy:?}, reclaims: {reclaims}"));
    match reclaims {
        // Each allocation drops all clean pages of the file; or only those that find little left.
        7 => machine.reclaim_above(0),
        6 => machine.reclaim_above(machine.memory().in_use() + 4),
        _ => {}
    }
    let mut excuses = Vec::new();
    if capacity < all {
        excuses.push(Errno::NoSpace);
    }
    let mut tail = Tail {
        setting,
        file: &file,
        store: &store,
        strategy,
        contents: Contents::new(),
        excuses,
        plant,
    };
    for number in 0..STEPS {
        if input.is_empty() {
            break;
        }
        let step = Step::arbitrary(input)?;
        show(format_args!("{number:>2} {step:?}"));
        tail.step(step, number as u8);
        tail.check_size();
    }
    tail.check_to_the_end();
    machine.memory().stop_reclaiming();
    space.unmap(MAPPED, PAGES);
    drop(file);
    let nodes = machine.cache().metadata_bytes() / PAGE_SIZE;
    let user = SOURCE_END + PAGES;
    assert_eq!(machine.memory().in_use(), nodes + user, "frames are still held (P5)");
    Ok(())
}

/// A file on its way.
struct Tail<'t> {
    setting: &'t Setting,
    file: &'t Inode<Kernel>,
    store: &'t FlatStore,
    strategy: Strategy,
    contents: Contents,
    /// Errors that may come, since they were asked for.
    excuses: Vec<Errno>,
    plant: Plant,
}

impl Tail<'_> {
    fn step(&mut self, step: Step, number: u8) {
        self.setting.space.script().clear();
        match step {
            Step::Write { at, len, readable, trouble } => {
                self.prepare(trouble);
                let len = len.get();
                let readable = readable.map_or(len, |readable| readable.get().min(len));
                self.write(self.place(at), len, readable, number);
            }
            Step::Read { at, len } => self.read(self.place(at), len.get()),
            Step::Store { at, len } => self.store(self.place(at), usize::from(len), number),
            Step::Load { page } => self.load(usize::from(page) % PAGES),
            Step::Truncate { at } => self.truncate(self.place(at)),
            Step::Sync => self.sync(),
            Step::Evict => drop(syscall(|token| self.file.evict(token, 0..u64::MAX))),
            Step::StealSource => self.setting.space.evict(0, SOURCE_END),
            Step::FailAllocation { nth } => {
                self.setting.machine.memory().fail_allocation(1 + u64::from(nth % 8));
                self.excuses.push(Errno::NoMemory);
            }
        }
    }

    fn place(&self, place: Place) -> usize {
        let at = match place {
            Place::End(by) => self.contents.size() as isize + isize::from(by),
            Place::Edge(page, by) => {
                (usize::from(page) % (PAGES + 1) * PAGE_SIZE) as isize + isize::from(by)
            }
            Place::Block(block, by) => isize::from(block) * 512 + isize::from(by),
            Place::Any(at) => at as isize,
        };
        at.clamp(0, BYTES as isize) as usize
    }

    fn prepare(&self, trouble: Trouble) {
        let script = self.setting.space.script();
        let nth = |nth: u8| When::Nth(1 + u64::from(nth % 4));
        match trouble {
            Trouble::None => {}
            Trouble::Short { nth: n, bytes } => {
                let bytes = 1 + usize::from(bytes) % PAGE_SIZE;
                script.add(Event::AtomicCopy, nth(n), Action::Short(bytes));
            }
            Trouble::Steal { nth: n } => script.add(Event::AtomicCopy, nth(n), Action::StealAll),
            Trouble::Lie => script.add(Event::FaultIn, When::Nth(1), Action::Lie),
        }
    }

    /// Writes `len` bytes, as far as there is room in the test's file, of which the first
    /// `readable` can be read.
    fn write(&mut self, pos: usize, len: usize, readable: usize, number: u8) {
        let len = len.min(BYTES - pos);
        let readable = readable.min(len);
        let space = &self.setting.space;
        // With all of it readable the source may lie anywhere; else it ends where memory does.
        let start = match readable == len {
            true => usize::from(number) * 97 % (BYTES - len + 1),
            false => BYTES - readable,
        };
        let slice = space.slice(0, start, len);
        let user = PlantedUser::new(space, self.plant);
        let options = WriteOptions::at(pos as u64).with_strategy(self.strategy);
        let written = syscall(|token| {
            let mut from = IovIter::from_slice(&user, &slice);
            let written = self.file.write(token, &mut from, &options, &NoTask);
            let moved = len - from.count();
            let bytes = written.map_or(0, |written| written.bytes);
            assert_eq!(moved, bytes, "the cursor stands behind what landed");
            written
        });
        let source = &self.setting.source[start..start + readable];
        let result = written.map(|written| written.bytes);
        self.contents.wrote(pos, source, len, result, &self.excuses);
    }

    fn read(&self, pos: usize, len: usize) {
        let space = &self.setting.space;
        let len = len.min(BYTES);
        match space.sys_read(self.file, &[space.slice(WINDOW, 0, len)], pos as u64) {
            Ok(got) => {
                let bytes = space.read_vec(space.at(WINDOW, 0), got).expect("the window");
                let whole = if self.excuses.contains(&Errno::NoMemory) { got } else { len };
                self.contents.check_read(pos, whole, &bytes, "a read");
            }
            Err(errno) => assert!(self.excuses.contains(&errno), "a read: {errno}"),
        }
    }

    /// Stores bytes in one page; inside the file they are data, past its end scribbles.
    fn store(&mut self, pos: usize, len: usize, number: u8) {
        let page = pos / PAGE_SIZE;
        let len = len.min((page + 1) * PAGE_SIZE - pos);
        if pos >= BYTES || len == 0 {
            return;
        }
        let size = self.contents.bytes().len();
        let byte = |at: usize| if at < size { data(at + len) } else { scribble(number) };
        let bytes: Vec<u8> = (pos..pos + len).map(byte).collect();
        let space = &self.setting.space;
        match space.store(space.at(MAPPED, pos), &bytes) {
            Ok(()) => {
                assert!(page < self.contents.pages(), "P6: stored to a page past the end");
                let stored = bytes.iter().enumerate();
                stored.for_each(|(nth, byte)| self.contents.store(pos + nth, *byte));
            }
            Err(UserFault::Bus) => {
                assert!(page >= self.contents.pages(), "SIGBUS inside the file");
            }
            Err(UserFault::Error(errno)) => {
                assert!(self.excuses.contains(&errno), "a store: {errno}");
            }
            Err(UserFault::Segv) => panic!("SIGSEGV inside the mapping"),
        }
    }

    fn load(&self, page: usize) {
        let space = &self.setting.space;
        match space.read_vec(space.at(MAPPED + page, 0), PAGE_SIZE) {
            Ok(bytes) => {
                assert!(page < self.contents.pages(), "P6: loaded from a page past the end");
                self.contents.check_mapped(page, &bytes);
            }
            Err(UserFault::Bus) => {
                assert!(page >= self.contents.pages(), "SIGBUS inside the file");
            }
            Err(UserFault::Error(errno)) => {
                assert!(self.excuses.contains(&errno), "a load: {errno}");
            }
            Err(UserFault::Segv) => panic!("SIGSEGV inside the mapping"),
        }
    }

    fn truncate(&mut self, size: usize) {
        match self.setting.space.sys_truncate(self.file, size as u64) {
            Ok(()) => self.contents.resize(size),
            // Nothing has changed: the size is looked at after each step.
            Err(Errno::NoMemory) if self.excuses.contains(&Errno::NoMemory) => {}
            Err(errno) => panic!("truncation to {size}: {errno}"),
        }
    }

    fn sync(&self) {
        let synced = self.setting.space.sys_fsync(self.file, SyncKind::All);
        assert_eq!(synced, Ok(()), "fsync");
        self.store.check_contents(&self.contents);
    }

    fn check_size(&self) {
        assert_eq!(self.file.size(), self.contents.size(), "W3: size");
        self.store.check(self.contents.size());
    }

    /// The file is what it ought to be: by read, by mapping, on the store, and read back from
    /// there.
    fn check_to_the_end(&mut self) {
        self.setting.machine.memory().stop_failing();
        self.setting.space.script().clear();
        self.excuses.retain(|errno| *errno == Errno::NoSpace);
        self.read(0, BYTES);
        (0..PAGES).for_each(|page| self.load(page));
        self.sync();
        let _ = syscall(|token| self.file.evict(token, 0..u64::MAX));
        assert_eq!(self.file.mapping().cached_pages(), 0, "a page stays in the cache");
        self.read(0, BYTES);
        self.check_size();
    }
}
