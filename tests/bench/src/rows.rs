//! The rows of the scoreboard that compare times.

#![forbid(unsafe_code)]

use std::fs::File;
use std::hint::black_box;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use faultless_filemap::WriteOptions;
use faultless_page::PAGE_SIZE;

use super::kernel::{Layout, Rig};
use super::measure::{Contestant, Role};
use super::memory::{Arena, Copier, bytes_of, copy, tmpfs_file};
use super::rivals::{TreeCache, pread, pwrite};
use super::stats::Dice;

mod growing;
mod reclaim;
mod shared;

use reclaim::Call;
pub(crate) use reclaim::ReadThrough;
use shared::{COLD, KIB, MIB, TWICE, nothing, user_memory};

/// A file whose index has some depth.
const HOT: usize = 64 * MIB;
/// A ratio and the most that it should be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bar {
    pub(super) role: Role,
    pub(super) most: f64,
}

/// A row of the scoreboard.
pub(super) struct Row {
    pub(super) number: u32,
    pub(super) title: &'static str,
    /// What a release needs.
    pub(super) must: Bar,
    /// What we are here for.
    pub(super) stretch: Bar,
    pub(super) contestants: fn() -> io::Result<Vec<Contestant>>,
}

const fn row(
    number: u32,
    title: &'static str,
    must: (Role, f64),
    stretch: (Role, f64),
    contestants: fn() -> io::Result<Vec<Contestant>>,
) -> Row {
    let must = Bar { role: must.0, most: must.1 };
    let stretch = Bar { role: stretch.0, most: stretch.1 };
    Row { number, title, must, stretch, contestants }
}

const MEMCPY: Role = Role::Memcpy;

/// All rows, in the order of the scoreboard.
pub(super) const ROWS: &[Row] = &[
    row(1, "1 B overwrite, hot", (Role::Tmpfs, 1.0 / 12.0), (Role::Tree, 1.0), || hot(1)),
    row(1, "64 B overwrite, hot", (Role::Tmpfs, 1.0 / 12.0), (Role::Tree, 1.0), || hot(64)),
    row(2, "4 KiB overwrite, hot", (MEMCPY, 1.8), (MEMCPY, 1.5), || hot(4 * KIB)),
    row(3, "4 KiB overwrite, cold random", (MEMCPY, 1.35), (MEMCPY, 1.2), || cold(4 * KIB)),
    row(4, "64 KiB overwrite, hot", (MEMCPY, 1.05), (MEMCPY, 1.02), || hot(64 * KIB)),
    row(5, "64 KiB overwrite, scattered frames", (MEMCPY, 1.08), (MEMCPY, 1.0), scattered),
    row(6, "64 KiB overwrite, cold", (MEMCPY, 1.12), (MEMCPY, 1.05), || cold(64 * KIB)),
    row(6, "1 MiB overwrite, cold", (MEMCPY, 1.06), (MEMCPY, 1.02), || cold(MIB)),
    row(7, "append 4 KiB", (MEMCPY, 1.2), (MEMCPY, 1.1), || growing::append(4 * KIB)),
    row(8, "append 64 KiB", (MEMCPY, 1.25), (MEMCPY, 1.1), || growing::append(64 * KIB)),
    row(8, "append 1 MiB", (MEMCPY, 1.05), (MEMCPY, 1.02), || growing::append(MIB)),
    row(9, "1 B into a new page (vs memset)", (MEMCPY, 1.15), (MEMCPY, 1.08), growing::new_page),
    row(13, "4 KiB hot at 512 GiB vs at 0", (Role::Twin, 1.05), (Role::Twin, 1.02), || flat(1)),
    row(13, "4 KiB cold at 512 GiB vs at 0", (Role::Twin, 1.15), (Role::Twin, 1.02), || {
        flat(FLAT / (4 * KIB) as u64)
    }),
    row(14, "read 4 KiB, hot", (MEMCPY, 1.8), (MEMCPY, 1.3), || read(4 * KIB)),
    row(14, "read 64 KiB, hot", (MEMCPY, 1.05), (MEMCPY, 1.02), || read(64 * KIB)),
    row(
        23,
        "reclaim: 12,288 looks in vain",
        (Role::Tree, 0.25),
        (Role::Tree, 0.25),
        reclaim::looks,
    ),
    row(23, "reclaim: 64 pages freed", (Role::Tree, 0.25), (Role::Tree, 0.25), reclaim::freed),
    row(25, "64 B overwrite, hot, all on", (Role::Twin, 1.05), (Role::Twin, 1.0), || {
        reclaim::all_on(Call::Write(64))
    }),
    row(25, "4 KiB overwrite, hot, all on", (Role::Twin, 1.05), (Role::Twin, 1.0), || {
        reclaim::all_on(Call::Write(4 * KIB))
    }),
    row(25, "64 B read, hot, all on", (Role::Twin, 1.05), (Role::Twin, 1.0), || {
        reclaim::all_on(Call::Read(64))
    }),
    row(25, "4 KiB read, hot, all on", (Role::Twin, 1.05), (Role::Twin, 1.0), || {
        reclaim::all_on(Call::Read(4 * KIB))
    }),
];

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
fn filled(bytes: usize, layout: Layout) -> io::Result<Rc<Rig>> {
    let frames = Arena::new(bytes + bytes / 8 + 4 * MIB)?;
    let rig = Rig::new(frames, layout, user_memory()?);
    fill_file(&rig, 0, bytes);
    Ok(Rc::new(rig))
}

fn fill_file(rig: &Rig, base: u64, bytes: usize) {
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
fn hot(len: usize) -> io::Result<Vec<Contestant>> {
    overwrite(len, HOT, &Places::only(HOT as u64 / 2))
}

fn cold(len: usize) -> io::Result<Vec<Contestant>> {
    overwrite(len, COLD, &Places::new((COLD / len) as u64, len))
}

fn overwrite(len: usize, bytes: usize, places: &Places) -> io::Result<Vec<Contestant>> {
    let rig = filled(bytes, Layout::Contiguous)?;
    let source = bytes_of(rig.memory(), 0, len);
    let mut all = overwrites(&rig, places, len);
    let plain = Rc::new(Arena::new(bytes)?);
    all.extend(plain_copies(&plain, rig.memory(), places, len));
    all.extend(tree_writes(places, bytes, &source));
    all.extend(tmpfs_writes(places, bytes, source)?);
    Ok(all)
}

/// Both kinds of `memcpy` to the same places of plain memory.
fn plain_copies(
    to: &Rc<Arena>,
    from: &Arc<Arena>,
    places: &Places,
    len: usize,
) -> impl Iterator<Item = Contestant> {
    [Copier::Libc, Copier::RepMovsb]
        .map(|how| {
            let (to, from, mut at) = (to.clone(), from.clone(), places.clone());
            Contestant::new(Role::Memcpy, move |n| {
                for _ in 0..n {
                    copy(how, (&to, at.next() as usize), (&from, 0), black_box(len));
                }
            })
        })
        .into_iter()
}

fn filled_tree(bytes: usize) -> TreeCache {
    let tree = TreeCache::default();
    for pos in (0..bytes).step_by(PAGE_SIZE) {
        tree.write(pos as u64, &[1; PAGE_SIZE]);
    }
    tree
}

fn filled_tmpfs(bytes: usize) -> io::Result<File> {
    let file = tmpfs_file()?;
    for pos in (0..bytes).step_by(PAGE_SIZE) {
        pwrite(&file, pos as u64, &[1; PAGE_SIZE]);
    }
    Ok(file)
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

fn tmpfs_writes(places: &Places, bytes: usize, source: Vec<u8>) -> io::Result<[Contestant; 2]> {
    let file = filled_tmpfs(bytes)?;
    let mut at = places.clone();
    let tmpfs = Contestant::new(Role::Tmpfs, move |n| {
        for _ in 0..n {
            pwrite(&file, at.next(), &source);
        }
    });
    Ok([tmpfs, nothing()])
}

/// 64 KiB at once against one `memcpy` for each of its 16 pages, neither lying side by side.
fn scattered() -> io::Result<Vec<Contestant>> {
    const LEN: usize = 64 * KIB;
    let rig = filled(LEN, Layout::Scattered)?;
    let places = Places::only(0);
    let mut all = overwrites(&rig, &places, LEN);
    let plain = Rc::new(Arena::new(4 * MIB)?);
    let mut pages: Vec<usize> = (0..plain.bytes() / PAGE_SIZE).collect();
    Dice::new(0x5ca7).shuffle(&mut pages);
    pages.truncate(LEN / PAGE_SIZE);
    for how in [Copier::Libc, Copier::RepMovsb] {
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
const FLAT: u64 = 128 * MIB as u64;

/// A piece of a 1 TiB file in its middle, against a file of that piece only.
fn flat(slots: u64) -> io::Result<Vec<Contestant>> {
    const LEN: usize = 4 * KIB;
    const MIDDLE: u64 = 512 << 30;
    let near = filled(FLAT as usize, Layout::Contiguous)?;
    let far = Rig::new(Arena::new(FLAT as usize + 32 * MIB)?, Layout::Contiguous, user_memory()?);
    far.set_size(1 << 40);
    fill_file(&far, MIDDLE, FLAT as usize);
    let mut all = overwrites(&Rc::new(far), &Places::new(slots, LEN).from(MIDDLE), LEN);
    all.push(overwriter(Role::Twin, &near, &Places::new(slots, LEN), LEN));
    Ok(all)
}

fn read(len: usize) -> io::Result<Vec<Contestant>> {
    let rig = filled(HOT, Layout::Contiguous)?;
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
    for how in [Copier::Libc, Copier::RepMovsb] {
        let (to, from) = (rig.memory().clone(), plain.clone());
        all.push(Contestant::new(Role::Memcpy, move |n| {
            for _ in 0..n {
                copy(how, (&to, 0), (&from, black_box(0)), black_box(len));
            }
        }));
    }
    let tree = filled_tree(HOT);
    let mut target = vec![0; len];
    all.push(Contestant::new(Role::Tree, move |n| {
        for _ in 0..n {
            tree.read(black_box(middle), &mut target);
        }
    }));
    let file = filled_tmpfs(HOT)?;
    let mut target = vec![0; len];
    all.push(Contestant::new(Role::Tmpfs, move |n| {
        for _ in 0..n {
            pread(&file, black_box(middle), &mut target);
        }
    }));
    all.push(nothing());
    Ok(all)
}
