//! The machine stopped at every call of the store, and what a mount finds then.
#![forbid(unsafe_code)]

use std::fmt;
use std::ops::AddAssign;

use faultless::filemap::{Strategy, SyncKind, WriteOptions};
use faultless::page::{PAGE_SIZE, PageIndex};
use faultless_host::rng::Rng;
use faultless_host::stores::{Fate, Image, Lie, Moment};
use faultless_host::{Machine, Mmu, Protection, syscall};

use super::player::{self, Player, REMAPPED, Requests, WINDOW};
use super::promise::Promise;
use super::{BYTES, Disk, Mount, PAGES, Script, Syncs};
use crate::{File, Store};

/// What is swept, and what is planted.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Where the file lies.
    pub disk: Disk,
    /// How it is written.
    pub strategy: Strategy,
    /// How the store breaks its word.
    pub lie: Lie,
    /// How the program syncs.
    pub syncs: Syncs,
    /// When the store ends its requests.
    pub requests: Requests,
    /// How the disk is mounted after a crash.
    pub mount: Mount,
    /// How often each crash ends by chance.
    pub chances: u64,
    /// For what is left to chance.
    pub seed: u64,
}

impl Plan {
    /// Nothing is planted, and one crash at each point ends by chance.
    #[must_use]
    pub fn new(disk: Disk, strategy: Strategy, seed: u64) -> Self {
        let (lie, syncs, mount) = (Lie::None, Syncs::Core, Mount::Recover);
        let requests = Requests::AtOnce;
        Self { disk, strategy, lie, syncs, requests, mount, chances: 1, seed }
    }
}

/// How much was swept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Explored {
    /// Calls of the store.
    pub calls: u64,
    /// Points at which the machine was stopped: before each call, in the middle of those that can
    /// be torn, at each end of an operation.
    pub points: u64,
    /// How many of them lie in the middle of a call.
    pub torn: u64,
    /// Disks that were mounted: those of a point that differ.
    pub mounts: u64,
}

impl AddAssign for Explored {
    fn add_assign(&mut self, more: Self) {
        self.calls += more.calls;
        self.points += more.points;
        self.torn += more.torn;
        self.mounts += more.mounts;
    }
}

impl fmt::Display for Explored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { calls, points, torn, mounts } = self;
        write!(f, "{calls} calls, {points} crash points ({torn} within a call), {mounts} mounts")
    }
}

/// Performs the script, and stops the machine at each call on the way.
///
/// # Errors
/// What is wrong after a crash, and where it happened.
///
/// # Panics
/// If an operation does not do what it ought to without a crash.
pub fn sweep<M: Mmu>(
    machine: &Machine<M>,
    script: &Script,
    plan: &Plan,
) -> Result<Explored, String> {
    let mut player =
        Player::new(machine, plan.disk, plan.strategy, plan.lie, plan.syncs, plan.requests);
    let mut explored = Explored::default();
    let mut rng = Rng::new(plan.seed);
    let mut from = player.store.calls();
    for (nth, op) in script.ops.iter().enumerate() {
        player.announce(op);
        let during = player.promise.clone();
        player.perform(op);
        let to = player.store.calls();
        explored.calls += (to - from) as u64;
        let points = (from..to).flat_map(|call| [(call, Moment::Before), (call, Moment::Within)]);
        let points =
            points.filter(|point| point.1 == Moment::Before || player.store.can_be_torn(point.0));
        let before = points.map(|point| (point, &during));
        for ((call, moment), promise) in before.chain([((to, Moment::Before), &player.promise)]) {
            let crash = Crash { machine, player: &player, plan, promise, call, moment };
            explored += crash.explore(&mut rng).map_err(|what| {
                let name = player.store.call(call);
                let script = &script.name;
                format!("{script}; {plan:?}: operation {nth} {op:?}, {moment:?} call {call} ({name:?}): {what}")
            })?;
        }
        from = to;
    }
    player.finish();
    Ok(explored)
}

/// One point at which the machine stops.
struct Crash<'a, 'm, M: Mmu> {
    machine: &'m Machine<M>,
    player: &'a Player<'m, M>,
    plan: &'a Plan,
    promise: &'a Promise,
    call: usize,
    moment: Moment,
}

impl<M: Mmu> Crash<'_, '_, M> {
    /// Mounts every disk that the crash may leave.
    fn explore(&self, rng: &mut Rng) -> Result<Explored, String> {
        let mut images = Vec::<Image>::new();
        let chances = (0..self.plan.chances).map(|_| Fate::Chance(Rng::new(rng.next())));
        for fate in [Fate::Lost, Fate::Kept].into_iter().chain(chances) {
            let image = self.player.store.crash(self.call, self.moment, fate);
            if !images.contains(&image) {
                images.push(image);
            }
        }
        images.iter().try_for_each(|image| self.mount(image))?;
        let torn = u64::from(self.moment == Moment::Within);
        Ok(Explored { calls: 0, points: 1, torn, mounts: images.len() as u64 })
    }

    /// Mounts one: it holds what was promised, and works.
    fn mount(&self, image: &Image) -> Result<(), String> {
        let store = self.plan.disk.mount(image, self.plan.mount);
        let file = player::inode(self.machine, &store, image.size());
        let found = self.read(&file)?;
        same("size", found.len() as u64, image.size())?;
        self.promise.check(&found)?;
        self.check_mapping(&file, &found)?;
        self.check_use(&file, &store, found)
    }

    /// Everything, and nothing behind it.
    fn read(&self, file: &File) -> Result<Vec<u8>, String> {
        let space = &self.player.space;
        let slice = space.slice(WINDOW, 0, BYTES + 2 * PAGE_SIZE);
        let read = |pos| space.sys_read(file, &[slice], pos).map_err(|errno| errno.to_string());
        let got = read(0)?;
        let bytes = space.read_vec(slice.addr(), got).map_err(|fault| fault.to_string())?;
        same("bytes behind the end", read(got as u64)?, 0)?;
        Ok(bytes)
    }

    /// Through a mapping it is the same, and zero to the end of the last page (P2).
    fn check_mapping(&self, file: &File, found: &[u8]) -> Result<(), String> {
        let space = &self.player.space;
        space.map_file(REMAPPED, PAGES, file, PageIndex::ZERO, Protection::ReadWrite);
        let pages = found.len().next_multiple_of(PAGE_SIZE);
        let mapped = space.read_vec(space.at(REMAPPED, 0), pages);
        space.unmap(REMAPPED, PAGES);
        let mapped = mapped.map_err(|fault| format!("through a mapping: {fault}"))?;
        same_bytes("through a mapping", &mapped, found)
    }

    /// It grows, with zeros; it is written to, synced, dropped from the cache and read back; and
    /// the store's books are right.
    fn check_use(&self, file: &File, store: &Store, mut bytes: Vec<u8>) -> Result<(), String> {
        let space = &self.player.space;
        let failed = |errno: faultless::page::Errno| format!("the mounted file: {errno}");
        let size = bytes.len();
        bytes.resize(size + PAGE_SIZE + 100, 0);
        space.sys_truncate(file, bytes.len() as u64).map_err(failed)?;
        self.chill(file)?;
        same_bytes("grown", &self.read(file)?, &bytes)?;
        let (pos, source) = (size.saturating_sub(50), space.slice(WINDOW, 0, 700));
        space.fill(source.addr(), 0x7F, source.len()).map_err(|fault| fault.to_string())?;
        let options = WriteOptions::at(pos as u64).with_strategy(self.plan.strategy);
        let written = space.sys_write(file, &[source], &options).map_err(failed)?;
        same("written", written.bytes, source.len())?;
        bytes[pos..pos + source.len()].fill(0x7F);
        self.chill(file)?;
        same_bytes("written to", &self.read(file)?, &bytes)?;
        let Some(blocks) = store.blocks() else { return Ok(()) };
        same("blocks past the end", blocks.blocks_past(bytes.len() as u64), 0)?;
        same("complaints", blocks.complaints(), Vec::new())
    }

    fn chill(&self, file: &File) -> Result<(), String> {
        let synced = self.player.space.sys_fsync(file, SyncKind::All);
        synced.map_err(|errno| format!("fsync of the mounted file: {errno}"))?;
        let _ = syscall(|token| file.evict(token, 0..u64::MAX));
        same("pages that stay in the cache", file.mapping().cached_pages(), 0)
    }
}

fn same<T: PartialEq + fmt::Debug>(what: &str, got: T, want: T) -> Result<(), String> {
    if got == want { Ok(()) } else { Err(format!("{what}: {got:?} instead of {want:?}")) }
}

/// Both are the same, and where the first is longer it is zero.
fn same_bytes(what: &str, got: &[u8], want: &[u8]) -> Result<(), String> {
    let (head, tail) = got.split_at(want.len().min(got.len()));
    same(what, head.len(), want.len())?;
    let wrong = (0..head.len()).find(|&at| head[at] != want[at]);
    let wrong = wrong.map(|at| (at, head[at], want[at]));
    let junk = tail.iter().position(|byte| *byte != 0);
    let junk = junk.map(|at| (want.len() + at, tail[at], 0));
    match wrong.or(junk) {
        None => Ok(()),
        Some((at, is, ought)) => {
            Err(format!("{what}: byte {at} is {is:#04x} instead of {ought:#04x}"))
        }
    }
}
