//! Overwrites and reads of a file that is cached: hot, cold, scattered, far behind.

#![forbid(unsafe_code)]

use std::hint::black_box;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use faultless_filemap::WriteOptions;
use faultless_host::stores::MemoryStore;
use faultless_page::PAGE_SIZE;

use super::shared::{KIB, MIB, TWICE, nothing, user_memory};
use crate::frames::Layout;
use crate::kernel::{Measured, Rig};
use crate::limit::{Limit, Section};
use crate::measure::{Contestant, Role};
use crate::memory::{Arena, Copier, Part, bytes_of, cold_bytes, copy};
use crate::rivals::filled_tree;
use crate::stats::Dice;
use crate::tmpfs::{self, Pages, pread, pwrite};

/// A file whose index has some depth.
const HOT: usize = 64 * MIB;
/// Of plain copies the best counts.
const COPIERS: [Copier; 2] = [Copier::Libc, Copier::RepMovsb];

/// Where the operations of a contestant go.
#[derive(Debug)]
struct Places {
    dice: Dice,
    slots: u64,
    bytes: u64,
    base: u64,
}

impl Clone for Places {
    /// The same kind of places in another order: who follows in the steps of another finds them
    /// warm.
    fn clone(&self) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let seed = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self { dice: Dice::new(seed), ..*self }
    }
}

impl Places {
    /// Any of `slots` pieces of `bytes` each.
    fn new(slots: u64, bytes: usize) -> Self {
        Self { dice: Dice::new(0xd1ce), slots, bytes: bytes as u64, base: 0 }
    }

    /// The one place at `base`.
    fn only(base: u64) -> Self {
        Self { base, ..Self::new(1, 0) }
    }

    /// The same, shifted.
    fn from(mut self, base: u64) -> Self {
        self.base = base;
        self
    }

    #[inline]
    fn next(&mut self) -> u64 {
        if self.slots == 1 {
            return black_box(self.base);
        }
        self.base + self.dice.below(self.slots) * self.bytes
    }
}

/// A rig with `bytes` of a file in the cache, and room for the index beside them.
fn filled<K: Measured>(bytes: usize, layout: Layout) -> io::Result<Rc<Rig<K>>> {
    filled_over(Arena::new(with_room(bytes))?, bytes, layout)
}

/// How much memory a rig with so many bytes of a file takes.
const fn with_room(bytes: usize) -> usize {
    bytes + bytes / 8 + 4 * MIB
}

fn filled_over<K: Measured>(
    frames: impl Into<Part>,
    bytes: usize,
    layout: Layout,
) -> io::Result<Rc<Rig<K>>> {
    let rig = Rig::over(MemoryStore::volatile(), frames, layout, user_memory()?);
    fill_file(&rig, 0, bytes);
    Ok(Rc::new(rig))
}

fn fill_file<K: Measured>(rig: &Rig<K>, base: u64, bytes: usize) {
    let step = bytes.min(MIB);
    for pos in (0..bytes).step_by(step) {
        rig.write(&WriteOptions::at(base + pos as u64), step);
    }
}

/// Overwrites of a cached file, twice.
fn overwrites(rig: &Rc<Rig>, places: &Places, len: usize) -> Vec<Contestant> {
    TWICE.map(|role| overwriter(role, rig, places, len)).into()
}

fn overwriter(role: Role, rig: &Rc<Rig>, places: &Places, len: usize) -> Contestant {
    let (rig, mut at) = (rig.clone(), places.clone());
    Contestant::new(role, move |n| {
        for _ in 0..n {
            rig.write(&WriteOptions::at(at.next()), len);
        }
    })
}

/// Always the same place, in the middle of a file that is cached whole: an index with one entry
/// would flatter.
pub(crate) fn hot(len: usize) -> io::Result<Vec<Contestant>> {
    let middle = HOT as u64 / 2;
    let mut all = overwrite(len, HOT, &Places::only(middle))?;
    let (frames, source) = (Arc::new(Arena::new(HOT)?), user_memory()?);
    for how in COPIERS {
        let (limit, source) = (Limit::new(frames.clone(), how), source.clone());
        all.push(Contestant::new(Role::Limit, move |n| {
            for _ in 0..n {
                assert!(limit.write(black_box(middle), &source, black_box(len)));
            }
        }));
    }
    Ok(all)
}

/// Bytes of the file of row 3, whatever the caches of this machine.
const RANDOM: usize = 256 * MIB;

pub(super) fn random(len: usize) -> io::Result<Vec<Contestant>> {
    anywhere(len, RANDOM)
}

pub(super) fn cold(len: usize) -> io::Result<Vec<Contestant>> {
    anywhere(len, cold_bytes())
}

/// Overwrites of any `len` bytes of so many.
fn anywhere(len: usize, bytes: usize) -> io::Result<Vec<Contestant>> {
    let slots = (bytes / len) as u64;
    let mut all = overwrite(len, bytes, &Places::new(slots, len))?;
    for contestant in &mut all {
        contestant.run_in(slots);
    }
    Ok(all)
}

fn overwrite(len: usize, bytes: usize, places: &Places) -> io::Result<Vec<Contestant>> {
    let [frames, plain] = Part::two(with_room(bytes))?;
    let rig = filled_over(frames, bytes, Layout::Contiguous)?;
    let source = bytes_of(rig.memory(), 0, len);
    let mut all = overwrites(&rig, places, len);
    all.extend(plain_copies(&plain, rig.memory(), places, len));
    all.extend(tree_writes(places, bytes, &source));
    all.extend(tmpfs_writes(places, bytes, source)?);
    Ok(all)
}

/// Both kinds of `memcpy` to the same places of plain memory.
fn plain_copies(
    to: &Part,
    from: &Arc<Arena>,
    places: &Places,
    len: usize,
) -> impl Iterator<Item = Contestant> {
    COPIERS
        .map(|how| {
            let (to, from, mut at) = (to.clone(), from.clone(), places.clone());
            Contestant::new(Role::Memcpy, move |n| {
                for _ in 0..n {
                    copy(how, to.place(at.next() as usize), (&from, 0), black_box(len));
                }
            })
        })
        .into_iter()
}

fn tree_writes(places: &Places, bytes: usize, source: &[u8]) -> [Contestant; 2] {
    let tree = Rc::new(filled_tree(bytes));
    let (plain, mut at, data) = (tree.clone(), places.clone(), source.to_vec());
    let (bounced, mut bounced_at, bounced_data) = (tree, places.clone(), source.to_vec());
    [
        Contestant::new(Role::Tree, move |n| {
            for _ in 0..n {
                plain.write(at.next(), black_box(&data));
            }
        }),
        Contestant::new(Role::TreeWithBounce, move |n| {
            for _ in 0..n {
                bounced.write_with_bounce(bounced_at.next(), black_box(&bounced_data));
            }
        }),
    ]
}

fn tmpfs_writes(places: &Places, bytes: usize, source: Vec<u8>) -> io::Result<Vec<Contestant>> {
    let mut all = vec![nothing()];
    for pages in Pages::ALL {
        let Some(file) = tmpfs::filled(pages, bytes)? else { continue };
        let (mut at, source) = (places.clone(), source.clone());
        all.push(Contestant::new(pages.role(), move |n| {
            for _ in 0..n {
                pwrite(&file, at.next(), &source);
            }
        }));
    }
    Ok(all)
}

/// 64 KiB at once against one `memcpy` for each of its 16 pages, neither lying side by side.
pub(super) fn scattered() -> io::Result<Vec<Contestant>> {
    const LEN: usize = 64 * KIB;
    let rig = filled(LEN, Layout::Scattered)?;
    let places = Places::only(0);
    let mut all = overwrites(&rig, &places, LEN);
    let plain = Rc::new(Arena::new(4 * MIB)?);
    let mut pages: Vec<usize> = (0..plain.bytes() / PAGE_SIZE).collect();
    Dice::new(0x5ca7).shuffle(&mut pages);
    pages.truncate(LEN / PAGE_SIZE);
    for how in COPIERS {
        let (to, from, pages) = (plain.clone(), rig.memory().clone(), pages.clone());
        all.push(Contestant::new(Role::Memcpy, move |n| {
            for _ in 0..n {
                for (at, page) in pages.iter().enumerate() {
                    let (to, from) = ((&*to, page * PAGE_SIZE), (&*from, at * PAGE_SIZE));
                    copy(how, to, from, black_box(PAGE_SIZE));
                }
            }
        }));
    }
    let source = bytes_of(rig.memory(), 0, LEN);
    all.extend(tree_writes(&places, LEN, &source));
    all.extend(tmpfs_writes(&places, LEN, source)?);
    Ok(all)
}

/// Bytes of the small file, and of what is cached of the large one.
pub(crate) const FLAT: u64 = 128 * MIB as u64;

/// A piece of a 1 TiB file in its middle, against a file of that piece only.
pub(super) fn flat(slots: u64) -> io::Result<Vec<Contestant>> {
    flat_at(512 << 30, slots)
}

/// One of `slots` pieces behind `offset` in a sparse file of twice that size, against the same at
/// the beginning of a small one.
pub(crate) fn flat_at(offset: u64, slots: u64) -> io::Result<Vec<Contestant>> {
    const LEN: usize = 4 * KIB;
    let near = filled(FLAT as usize, Layout::Contiguous)?;
    let far = Rig::new(Arena::new(FLAT as usize + 32 * MIB)?, Layout::Contiguous, user_memory()?);
    far.set_size(2 * offset.max(FLAT));
    fill_file(&far, offset, FLAT as usize);
    let mut all = overwrites(&Rc::new(far), &Places::new(slots, LEN).from(offset), LEN);
    all.push(overwriter(Role::Twin, &near, &Places::new(slots, LEN), LEN));
    Ok(all)
}

/// A read from the middle of a file, of a kernel `K`.
pub(super) fn read<K: Measured>(len: usize) -> io::Result<Vec<Contestant>> {
    let rig = filled::<K>(HOT, Layout::Contiguous)?;
    let middle = HOT as u64 / 2;
    let reader = |role| {
        let rig = rig.clone();
        Contestant::new(role, move |n| {
            for _ in 0..n {
                rig.read(black_box(middle), len);
            }
        })
    };
    let mut all: Vec<Contestant> = TWICE.map(reader).into();
    let plain = Arc::new(Arena::new(len)?);
    for how in COPIERS {
        let (to, from) = (rig.memory().clone(), plain.clone());
        all.push(Contestant::new(Role::Memcpy, move |n| {
            for _ in 0..n {
                copy(how, (&to, 0), (&from, black_box(0)), black_box(len));
            }
        }));
    }
    let frames = Arc::new(Arena::new(HOT)?);
    let sections = [(Role::Limit, Section::Free), (Role::CountedLimit, Section::Counted)];
    for (role, section) in sections {
        for how in COPIERS {
            let (limit, to) = (Limit::new(frames.clone(), how), user_memory()?);
            all.push(Contestant::new(role, move |n| {
                for _ in 0..n {
                    assert!(limit.read(section, black_box(middle), &to, black_box(len)));
                }
            }));
        }
    }
    let tree = filled_tree(HOT);
    let mut target = vec![0; len];
    all.push(Contestant::new(Role::Tree, move |n| {
        for _ in 0..n {
            tree.read(black_box(middle), &mut target);
        }
    }));
    for pages in Pages::ALL {
        let Some(file) = tmpfs::filled(pages, HOT)? else { continue };
        let mut target = vec![0; len];
        all.push(Contestant::new(pages.role(), move |n| {
            for _ in 0..n {
                pread(&file, black_box(middle), &mut target);
            }
        }));
    }
    all.push(nothing());
    Ok(all)
}
