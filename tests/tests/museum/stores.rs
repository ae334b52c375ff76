//! Stores that keep books, and stores that lie.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use faultless::page::{AddressSpaceOperations, Begun, Contents, FillBuf, PAGE_SIZE, Reserved};
use faultless_host::stores::{At, Call, HookedStore, MemoryStore};

/// What a [`Ledger`] does to what the store below it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Twist {
    /// Nothing, but that every write has to begin and to end.
    None,
    /// B9: blocks that nobody has written yet count as data, and hold what the device happens to
    /// hold.
    UnwrittenIsData,
    /// B14: `write_begin` grants more than anybody asked for.
    GrantsTooMuch,
    /// B14: `write_begin` grants nothing and does not fail.
    GrantsNothing,
}

/// What the device of [`Twist::UnwrittenIsData`] happens to hold.
pub(crate) const STALE: u8 = 0xdb;

/// A store that writes down what begins and what ends.
pub(crate) struct Ledger {
    store: Arc<HookedStore<dyn AddressSpaceOperations>>,
    books: Arc<Books>,
}

#[derive(Default)]
struct Books {
    begun: Mutex<Vec<(u64, usize)>>,
    ended: Mutex<Vec<(u64, usize)>>,
    wrong: Mutex<Vec<String>>,
    reads: AtomicUsize,
}

fn entries<T>(book: &Mutex<Vec<T>>) -> MutexGuard<'_, Vec<T>> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ledger {
    pub(crate) fn new(inner: Arc<dyn AddressSpaceOperations>, twist: Twist) -> Self {
        let books = Arc::<Books>::default();
        let (reads, begins) = (Arc::clone(&books), Arc::clone(&books));
        let mut store = HookedStore::new(inner)
            .around(move |at, below| {
                match at.call {
                    Call::Read => drop(reads.reads.fetch_add(1, Ordering::Relaxed)),
                    Call::WriteEnd => reads.end(at),
                    _ => {}
                }
                below()
            })
            .granting(move |at, begun| begins.begin(at, begun, twist));
        if twist == Twist::UnwrittenIsData {
            store = store.reading(|_, _, buf| {
                buf.write(&[STALE; PAGE_SIZE]);
                Ok(())
            });
        }
        Self { store: Arc::new(store), books }
    }

    /// The store.
    pub(crate) fn store(&self) -> Arc<HookedStore<dyn AddressSpaceOperations>> {
        Arc::clone(&self.store)
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        assert_eq!(*entries(&self.books.begun), [], "begun and not ended");
        entries(&self.books.ended).clear();
        entries(&self.books.wrong).clear();
        self.books.reads.store(0, Ordering::Relaxed);
    }

    /// Up to where bytes landed, as the store was told. (A write may start over, and land the same
    /// bytes again.)
    pub(crate) fn landed_until(&self) -> u64 {
        let ended = entries(&self.books.ended);
        let landed = ended.iter().filter(|(_, copied)| *copied > 0);
        landed.map(|(pos, copied)| pos + *copied as u64).max().unwrap_or(0)
    }

    /// Ends without a beginning, beginnings without an end, and ends with more than was granted.
    pub(crate) fn wrong(&self) -> Vec<String> {
        let open = entries(&self.books.begun).clone();
        let open = open.into_iter().map(|(pos, len)| format!("{len} bytes at {pos} never ended"));
        entries(&self.books.wrong).iter().cloned().chain(open).collect()
    }

    /// Pages read.
    pub(crate) fn reads(&self) -> usize {
        self.books.reads.load(Ordering::Relaxed)
    }
}

impl Books {
    fn begin(&self, at: &At, granted: Begun, twist: Twist) -> Begun {
        let mut begun = Begun { reserved: Reserved::Partly, ..granted };
        match twist {
            Twist::None => {}
            Twist::UnwrittenIsData => begun.contents = Contents::Stored,
            Twist::GrantsTooMuch => begun.len = usize::MAX,
            Twist::GrantsNothing => begun.len = 0,
        }
        entries(&self.begun).push((at.pos, begun.len.clamp(1, granted.len)));
        begun
    }

    fn end(&self, at: &At) {
        let At { pos, len, copied, .. } = *at;
        let mut begun = entries(&self.begun);
        match begun.iter().position(|entry| *entry == (pos, len)) {
            Some(at) => drop(begun.remove(at)),
            None => entries(&self.wrong).push(format!("{len} bytes at {pos} never began")),
        }
        if copied > len {
            entries(&self.wrong).push(format!("{copied} of {len} bytes at {pos} landed"));
        }
        entries(&self.ended).push((pos, copied));
    }
}

/// E14: a store that reads no more than so many bytes of each page, and what it says of the others.
pub(crate) struct Short {
    store: Arc<HookedStore<MemoryStore>>,
    bytes: Arc<AtomicUsize>,
    reads: Arc<AtomicUsize>,
}

/// What a [`Short`] store says of the bytes that it did not get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShortAnswer {
    /// Nothing.
    Missing,
    /// That they are a hole: what a wrapper makes of a short answer below it.
    Hole,
}

impl Short {
    pub(crate) fn new(answer: ShortAnswer) -> Self {
        let (bytes, reads) = (Arc::new(AtomicUsize::new(PAGE_SIZE)), Arc::<AtomicUsize>::default());
        let (most, count) = (Arc::clone(&bytes), Arc::clone(&reads));
        let store = HookedStore::new(MemoryStore::new())
            .reading(move |inner, index, buf| {
                count.fetch_add(1, Ordering::Relaxed);
                let mut page = vec![0; PAGE_SIZE];
                inner.read(index, &mut FillBuf::new(&mut page))?;
                buf.write(&page[..most.load(Ordering::Relaxed)]);
                if answer == ShortAnswer::Hole {
                    buf.fill_hole();
                }
                Ok(())
            })
            .granting(|_, begun| Begun { reserved: Reserved::Partly, ..begun });
        Self { store: Arc::new(store), bytes, reads }
    }

    /// The store.
    pub(crate) fn store(&self) -> &Arc<HookedStore<MemoryStore>> {
        &self.store
    }

    /// From now on so many bytes of a page are read.
    pub(crate) fn shorten(&self, bytes: usize) {
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    /// Pages read since the last call.
    pub(crate) fn take_reads(&self) -> usize {
        self.reads.swap(0, Ordering::Relaxed)
    }
}
