//! The index of a mapping, its marks and its page locks against a `BTreeMap`.
//!
//! Each page has a tag in its bytes, so that a page that is found in the wrong place is recognised.
//! Operations run beside a run of pages that stays locked, with an allocator that fails on request.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use arbitrary::{Arbitrary, Unstructured};
use faultless_page::{
    AddressSpaceOperations, Errno, LockContext, LockedRun, Mapping, Mark, PAGE_SIZE, PageIndex,
    PageRun, SlotMask, WritebackRequest,
};

use super::Plant;
use super::reuse::reuse;
use super::show::show;
use faultless_host::kernel::{Bare, HostKernel};
use faultless_host::mm_scripted::ScriptedMmu;
use faultless_host::stores::MemoryStore;
use faultless_host::{Machine, MachineConfig};

type Kernel = HostKernel<Bare>;

const STEPS: usize = 64;
const FRAMES: usize = 384;
/// Pages of a model, at most: the machine's memory is small.
const MOST: usize = 160;

/// A page number: near to others, and at every level of the tree.
#[derive(Clone, Copy, Debug, Arbitrary)]
enum Number {
    Near(u8),
    Level(u8, u8),
    Leaves(u8, u8),
    High(u16),
}

impl Number {
    fn index(self) -> PageIndex {
        PageIndex::new(match self {
            Self::Near(at) => u64::from(at),
            Self::Level(level, at) => (1 << (6 * (level % 10))) + u64::from(at),
            Self::Leaves(leaf, at) => (1 << 18) + u64::from(leaf) * 64 + u64::from(at),
            Self::High(at) => u64::MAX - 1 - u64::from(at),
        })
    }
}

/// A mark that the script sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Arbitrary)]
enum Set {
    Uptodate,
    Dirty,
    Reserved,
    WrotePastEof,
    Clean,
    Unbacked,
    BeginWriteback,
    EndWriteback,
    Redirty,
}

#[derive(Clone, Copy, Debug, Arbitrary)]
enum Step {
    Insert(Number),
    InsertMany(Number, u8),
    Remove(Number, u8),
    Set(Set, Number, u8),
    Find(Number, Number, u8),
    Prune(Number, Number),
    Read(Number, u8),
    /// Keeps a run locked from here on, in place of the one before.
    Hold(Number, u8),
    Release,
    /// The next allocations fail.
    FailAllocation(u8),
    Count,
}

/// A page as the model knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Page {
    tag: u64,
    uptodate: Is,
    dirty: Is,
    reserved: Is,
    wrote_past_eof: Is,
    writeback: Is,
}

/// Whether a mark is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Is {
    #[default]
    No,
    Yes,
}

impl Is {
    const fn of(set: Set, wanted: Set, before: Self) -> Self {
        if set as u8 == wanted as u8 { Self::Yes } else { before }
    }
}

thread_local! {
    static MACHINE: Cell<Option<Machine<ScriptedMmu, Bare>>> = const { Cell::new(None) };
}

pub(super) fn body(input: &mut Unstructured<'_>, plant: Plant) -> arbitrary::Result<()> {
    let make = || Machine::build(MachineConfig::new().frames(FRAMES).space_pages(1));
    reuse(&MACHINE, make, |machine| play(machine, input, plant))
}

fn play(
    machine: &Machine<ScriptedMmu, Bare>,
    input: &mut Unstructured<'_>,
    plant: Plant,
) -> arbitrary::Result<()> {
    machine.check().adopt();
    machine.memory().stop_failing();
    let store: Arc<dyn AddressSpaceOperations> = MemoryStore::volatile();
    let maps = machine.user_mappings().clone();
    let mapping = Mapping::<Kernel>::new(Arc::clone(machine.cache()), store, maps, 0);
    let mut index = Index {
        machine,
        mapping: &mapping,
        model: BTreeMap::new(),
        held: None,
        sent: Vec::new(),
        tags: 0,
        plant,
    };
    for number in 0..STEPS {
        if input.is_empty() {
            break;
        }
        let step = Step::arbitrary(input)?;
        show(format_args!("{number:>2} {step:?}"));
        index.step(step);
    }
    index.held = None;
    index.check();
    drop(index);
    drop(mapping);
    let nodes = machine.cache().metadata_bytes() / PAGE_SIZE;
    assert_eq!(machine.memory().in_use(), nodes, "frames are still held (P5)");
    Ok(())
}

/// A mapping and its model.
struct Index<'m> {
    machine: &'m Machine<ScriptedMmu, Bare>,
    mapping: &'m Mapping<Kernel>,
    model: BTreeMap<u64, Page>,
    held: Option<LockedRun<'m, Kernel>>,
    /// Writebacks under way.
    sent: Vec<WritebackRequest>,
    tags: u64,
    plant: Plant,
}

/// Permission to lock pages: nothing here faults.
fn context<'t>() -> LockContext<'t> {
    // SAFETY: nothing in this module touches user memory, and a second run is only ever tried while
    // one is held.
    unsafe { LockContext::new() }
}

fn run(number: Number, pages: u8) -> PageRun {
    let first = number.index();
    // The last page of all is never found, as no end lies beyond it.
    PageRun::new(first, (u64::from(pages) % 64 + 1).min(u64::MAX - 1 - first.get()))
}

fn tag_of(page: std::ptr::NonNull<u8>) -> u64 {
    // SAFETY: the begin of a page of the cache, which is aligned, and which is not written
    // meanwhile.
    unsafe { page.cast::<u64>().read() }
}

impl<'m> Index<'m> {
    fn step(&mut self, step: Step) {
        match step {
            Step::Insert(at) => self.insert(run(at, 0)),
            Step::InsertMany(at, pages) => self.insert(run(at, pages)),
            Step::Remove(at, pages) => self.remove(run(at, pages)),
            Step::Set(set, at, pages) => self.set(set, run(at, pages)),
            Step::Find(from, to, mark) => self.find(from.index(), to.index(), mark),
            Step::Prune(from, to) => self.prune(from.index(), to.index()),
            Step::Read(at, pages) => self.read(run(at, pages)),
            Step::Hold(at, pages) => {
                self.held = None;
                self.held = self.lock_or_create(run(at, pages));
            }
            Step::Release => self.held = None,
            Step::FailAllocation(nth) => {
                self.machine.memory().fail_allocation(1 + u64::from(nth % 4))
            }
            Step::Count => self.check(),
        }
    }

    /// Whether the run held has a page of `run`.
    fn is_busy(&self, run: PageRun) -> bool {
        self.held.as_ref().is_some_and(|held| {
            held.run().leaf_base() == run.leaf_base() && held.run().mask().intersects(run.mask())
        })
    }

    /// Locks the run, if no page of it is locked and there is a leaf; checks that both are as the
    /// model says.
    fn lock(&self, run: PageRun) -> Option<LockedRun<'m, Kernel>> {
        let busy = self.is_busy(run);
        let locked = self.mapping.try_lock(context(), run);
        assert!(locked.is_none() || !busy, "locked twice: {run:?}");
        let pages = self.model.range(run.first().get()..run.end().get()).count();
        assert!(
            locked.is_some() || busy || pages == 0,
            "lost: no leaf for {pages} pages of {run:?}"
        );
        locked
    }

    fn lock_or_create(&self, run: PageRun) -> Option<LockedRun<'m, Kernel>> {
        if self.is_busy(run) {
            return None;
        }
        // A failed allocation changes nothing: the model stays.
        self.mapping.lock_or_create(context(), run).ok()
    }

    fn insert(&mut self, run: PageRun) {
        if self.model.len() + run.pages() as usize > MOST {
            return;
        }
        let Ok(mut batch) = self.mapping.cache().allocate(run.pages()) else { return };
        let Some(mut locked) = self.lock_or_create(run) else { return };
        let root_before = self.model.keys().next_back().copied().unwrap_or(0);
        for number in run.first().get()..run.end().get() {
            let Some(mut frame) = batch.take_first() else { break };
            self.tags += 1;
            frame.bytes_mut()[..8].copy_from_slice(&self.tags.to_ne_bytes());
            let inserted = locked.insert(PageIndex::new(number), frame).is_ok();
            let free = !self.model.contains_key(&number);
            assert_eq!(inserted, free, "insert at {number}: a page is lost, or nobody's");
            let page = Page { tag: self.tags, ..Page::default() };
            self.model.entry(number).or_insert(page);
        }
        drop(locked);
        let raised = root_before >> 12 == 0 && run.first().get() >> 12 != 0;
        if self.plant == Plant::IndexLosesOnRaise && raised {
            let lost = PageRun::single(PageIndex::new(root_before));
            drop(self.mapping.try_lock(context(), lost).map(|mut l| l.remove(SlotMask::ALL)));
        }
    }

    fn remove(&mut self, run: PageRun) {
        let Some(mut locked) = self.lock(run) else { return };
        let removed = locked.remove(run.mask());
        drop(locked);
        let range = run.first().get()..run.end().get();
        let goes = |page: &Page| page.writeback == Is::No;
        let gone: Vec<u64> =
            self.model.range(range).filter(|(_, page)| goes(page)).map(|(n, _)| *n).collect();
        assert_eq!(removed.len(), gone.len(), "pages removed from {run:?}");
        let slots = gone.iter().fold(SlotMask::EMPTY, |slots, n| slots | PageIndex::new(*n).bit());
        assert_eq!(removed.slots(), slots, "slots removed from {run:?}");
        self.model.retain(|number, _| !gone.contains(number));
    }

    fn set(&mut self, set: Set, run: PageRun) {
        if matches!(set, Set::EndWriteback | Set::Redirty) {
            return self.end_writeback(set, run);
        }
        let Some(mut locked) = self.lock(run) else { return };
        let slots = run.mask();
        if set == Set::BeginWriteback {
            return self.begin_writeback(&mut locked);
        }
        match set {
            Set::Uptodate => locked.set_uptodate(slots),
            Set::Dirty => {
                locked.set_dirty(slots);
            }
            Set::Reserved => locked.set_reserved(slots),
            Set::WrotePastEof => locked.set_wrote_past_eof(slots),
            Set::Clean => locked.clear_dirty(slots),
            Set::Unbacked => locked.clear_reserved(slots),
            Set::BeginWriteback | Set::EndWriteback | Set::Redirty => {}
        }
        drop(locked);
        for (_, page) in self.model.range_mut(run.first().get()..run.end().get()) {
            if set == Set::Clean {
                page.dirty = Is::No;
            }
            if set == Set::Unbacked {
                page.reserved = Is::No;
            }
            page.uptodate = Is::of(set, Set::Uptodate, page.uptodate);
            page.dirty = Is::of(set, Set::Dirty, page.dirty);
            page.reserved = Is::of(set, Set::Reserved, page.reserved);
            page.wrote_past_eof = Is::of(set, Set::WrotePastEof, page.wrote_past_eof);
        }
    }

    /// Begins the writeback of the locked run as a whole, or else of each of its pages.
    fn begin_writeback(&mut self, locked: &mut LockedRun<'m, Kernel>) {
        let run = locked.run();
        let singly =
            (run.first().get()..run.end().get()).map(|n| PageRun::single(PageIndex::new(n)));
        for run in std::iter::once(run).chain(singly) {
            let pages = self.model.range_mut(run.first().get()..run.end().get());
            let mut ready = 0;
            for (_, page) in pages {
                let marks = (page.uptodate, page.dirty, page.writeback);
                ready += u32::from(marks == (Is::Yes, Is::Yes, Is::No));
            }
            let begun = locked.begin_writeback(run, u64::MAX);
            assert_eq!(begun.is_some(), ready == run.pages(), "writeback of {run:?} begun");
            let Some(writeback) = begun else { continue };
            self.sent.push(writeback);
            for (_, page) in self.model.range_mut(run.first().get()..run.end().get()) {
                (page.dirty, page.writeback) = (Is::No, Is::Yes);
            }
        }
    }

    /// Ends the writebacks that begin in the run.
    fn end_writeback(&mut self, set: Set, run: PageRun) {
        let ends = |sent: &mut WritebackRequest| run.contains(sent.run().first());
        for writeback in self.sent.extract_if(.., ends) {
            let run = writeback.run();
            match set {
                // What is dropped has failed.
                Set::Redirty if run.pages() % 2 == 0 => drop(writeback),
                Set::Redirty => writeback.complete(Err(Errno::Io)),
                _ => writeback.complete(Ok(())),
            }
            for (_, page) in self.model.range_mut(run.first().get()..run.end().get()) {
                page.writeback = Is::No;
                page.dirty = Is::of(set, Set::Redirty, page.dirty);
            }
        }
    }

    fn find(&self, from: PageIndex, end: PageIndex, mark: u8) {
        let (mark, marked): (Mark, fn(&Page) -> bool) = match mark % 4 {
            0 => (Mark::Present, |_| true),
            1 => (Mark::Dirty, |page| page.dirty == Is::Yes),
            2 => (Mark::Writeback, |page| page.writeback == Is::Yes),
            _ => (Mark::Unclean, |page| (page.dirty, page.writeback) != (Is::No, Is::No)),
        };
        let mut expected: Option<(u64, u64)> = None;
        let pages = self.model.range(from.get()..end.get().max(from.get()));
        for (number, _) in pages.filter(|(_, page)| marked(page)) {
            match expected {
                None => expected = Some((*number, number + 1)),
                Some((first, last)) if last == *number && last % 64 != 0 => {
                    expected = Some((first, last + 1));
                }
                Some(_) => break,
            }
        }
        let found = self.mapping.find(from, end, mark).map(|run| self.seen(run));
        assert_eq!(found, expected, "find {mark:?} in {from}..{end}");
    }

    /// First page and end of a run.
    fn seen(&self, run: PageRun) -> (u64, u64) {
        let (first, end) = (run.first().get(), run.end().get());
        let short = self.plant == Plant::IndexShortRun && end % 64 == 0 && run.pages() > 1;
        (first, end - u64::from(short))
    }

    fn prune(&mut self, from: PageIndex, end: PageIndex) {
        self.mapping.prune(from, end);
        if self.plant == Plant::IndexPrunesDirty
            && let Some(dirty) = self.mapping.find(from, end, Mark::Dirty)
            && let Some(mut locked) = self.mapping.try_lock(context(), dirty)
        {
            drop(locked.remove(dirty.mask()));
        }
    }

    /// A reader without a lock sees the uptodate pages, and those only.
    fn read(&self, run: PageRun) {
        let section = self.mapping.read_section(context());
        let len = run.pages() as usize * PAGE_SIZE;
        let uptodate = |n: u64| self.model.get(&n).filter(|page| page.uptodate == Is::Yes);
        let number = run.first().get();
        if number > u64::MAX >> 12 {
            // Beyond all positions of a file.
            return;
        }
        let Some((memory, bytes)) = section.span(run.start(), len) else {
            assert!(uptodate(number).is_none(), "lost: page {number} is uptodate and not readable");
            return;
        };
        assert!(bytes >= PAGE_SIZE && bytes <= len, "{bytes} of {len} bytes");
        for nth in 0..bytes / PAGE_SIZE {
            let page = uptodate(number + nth as u64);
            // SAFETY: `span` gave so many bytes.
            let memory = unsafe { memory.add(nth * PAGE_SIZE) };
            let tag = page.map(|page| page.tag);
            assert_eq!(Some(tag_of(memory)), tag, "page {} read", number + nth as u64);
        }
    }

    /// Every page is where the model has it, with its marks and its bytes, and there is no other.
    fn check(&mut self) {
        assert_eq!(self.mapping.cached_pages(), self.model.len() as u64, "lost or found pages");
        let pages: Vec<(u64, Page)> = self.model.iter().map(|(n, page)| (*n, *page)).collect();
        for (number, page) in pages {
            let index = PageIndex::new(number);
            let run = PageRun::single(index);
            let locked = self.lock(run);
            let Some(locked) = locked.as_ref().or(self.held.as_ref()) else {
                panic!("lost: page {number}");
            };
            let frame = locked.frame(index);
            let frame = frame.unwrap_or_else(|| panic!("lost: page {number} has no frame"));
            let memory = self.machine.memory().address(frame);
            let is = |marks: SlotMask| if marks.contains(index.bit()) { Is::Yes } else { Is::No };
            let real = Page {
                tag: tag_of(memory),
                uptodate: is(locked.uptodate()),
                dirty: is(locked.dirty()),
                reserved: is(locked.reserved()),
                wrote_past_eof: is(locked.wrote_past_eof()),
                writeback: is(locked.writeback()),
            };
            assert_eq!(real, page, "page {number}");
        }
    }
}
