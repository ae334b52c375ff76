//! What the tasks do: writes and reads of the file, with memory that shows it or is their own, and
//! the program's loads and stores; syncs, and sizes that are set.

use faultless::filemap::{Access, NotYet, Strategy, WriteOptions};
use faultless::page::{PAGE_SIZE, SyncKind};
use faultless::usercopy::{IovIter, MayFault, UserSlice};

use crate::space::{BASE, FILES, FIRST, OWN};
use crate::world::World;

/// Operations of a task.
const STEPS: usize = 6;

/// Where writes at a position end at the latest; an append may begin before it.
const END: usize = FILES * PAGE_SIZE - 512;

/// One task.
pub(crate) async fn work(world: &World, strategy: Strategy) {
    for _ in 0..STEPS {
        match world.below(10) {
            0..4 => write(world, strategy).await,
            4..6 => read(world).await,
            6 => store(world).await,
            7 => load(world).await,
            8 => sync(world).await,
            _ => set_size(world).await,
        }
    }
}

/// Reads the whole file and compares it.
pub(crate) async fn read_all(world: &World) {
    let own = FILES * PAGE_SIZE;
    let size = world.model.borrow().file.len();
    for pos in (0..size).step_by(PAGE_SIZE) {
        read_at(world, pos, own, PAGE_SIZE).await;
    }
}

/// The token of a call that does not fault.
fn token() -> MayFault {
    // SAFETY: nothing is locked between two calls, and a task makes one at a time.
    unsafe { MayFault::assert() }
}

/// Two stretches of so many bytes, of the file and of the program's memory, which do not overlap.
/// The second one ends before `end`, if it lies in what shows the file.
fn apart(world: &World, end: usize) -> Option<(usize, usize, usize)> {
    let len = 1 + world.below([64, PAGE_SIZE, 3 * PAGE_SIZE - 1][world.below(3)]);
    let pos = world.below(world.model.borrow().file.len() + PAGE_SIZE / 2);
    let pos = pos.min(END - len);
    let at = if world.below(3) == 0 {
        FILES * PAGE_SIZE + world.below(OWN * PAGE_SIZE - len)
    } else {
        world.below(end.checked_sub(len)?.max(1))
    };
    (at >= pos + len || pos >= at + len).then_some((pos, at, len))
}

/// Which byte of memory was missing last, and when it was there.
#[derive(Default)]
struct Missing(Option<(usize, u64)>);

impl Missing {
    /// Resolves the fault at the start of `range`; whether the request goes on, whose next byte is
    /// that of `at`.
    async fn resolve(
        &mut self,
        world: &World,
        range: UserSlice,
        at: usize,
        access: Access,
    ) -> bool {
        let (missing, now) = (range.addr().get() - BASE, world.now.get());
        assert!(missing >= at, "what has moved is not missing");
        assert_ne!(self.0, Some((missing, now)), "W6: a fault that was just resolved");
        if world.fault(missing / PAGE_SIZE, access).await {
            self.0 = Some((missing, world.now.get()));
            return true;
        }
        missing > at
    }
}

/// A write, at a position or at the end.
async fn write(world: &World, strategy: Strategy) {
    let appends = world.below(4) == 0;
    // An append goes to where the file ends by then.
    let size = world.model.borrow().file.len();
    let end = if appends { size } else { FILES * PAGE_SIZE };
    let Some((pos, mut at, len)) = apart(world, end) else { return };
    let has_room = |world: &World| world.model.borrow().file.len() < END;
    let slice = world.slice(at, if appends { len.min(64) } else { len });
    let mut from = IovIter::from_slice(&world.user, &slice);
    let (mut calls, mut pos) = (world.file.nonblocking(), (FIRST * PAGE_SIZE + pos) as u64);
    let mut missing = Missing::default();
    while !from.is_empty() && (!appends || has_room(world)) {
        let written = world.poll(|task| {
            let options = if appends { WriteOptions::append() } else { WriteOptions::at(pos) };
            calls.write(&mut token(), &mut from, &options.with_strategy(strategy), task)
        });
        match written.await {
            Ok(written) => {
                assert!(written.bytes > 0, "an attempt that landed nothing is refused");
                let mut model = world.model.borrow_mut();
                let start = written.end as usize - written.bytes - FIRST * PAGE_SIZE;
                let expected =
                    if appends { model.file.len() } else { pos as usize - FIRST * PAGE_SIZE };
                assert_eq!(start, expected, "where the bytes landed");
                let bytes = model.user(at, written.bytes);
                model.write(start, &bytes);
                (at, pos) = (at + written.bytes, written.end);
            }
            Err(NotYet::WouldFault(range)) => {
                if !missing.resolve(world, range, at, Access::Read).await {
                    return;
                }
            }
            Err(NotYet::Failed(errno)) => return world.may_fail(errno),
            Err(other) => panic!("a write ended with {other:?}"),
        }
    }
}

/// A read, to memory that shows the file inside its size, or is the program's own.
async fn read(world: &World) {
    let size = world.model.borrow().file.len();
    if let Some((pos, at, len)) = apart(world, size) {
        read_at(world, pos, at, len).await;
    }
}

async fn read_at(world: &World, mut pos: usize, mut at: usize, len: usize) {
    let slice = world.slice(at, len);
    let mut to = IovIter::from_slice(&world.user, &slice);
    let mut calls = world.file.nonblocking();
    let mut missing = Missing::default();
    while !to.is_empty() {
        let start = (FIRST * PAGE_SIZE + pos) as u64;
        let got = world.poll(|task| calls.read(&mut token(), &mut to, start, task));
        match got.await {
            Ok(bytes) => {
                let mut model = world.model.borrow_mut();
                if bytes == 0 {
                    assert!(pos >= model.file.len(), "the end of the file before its end");
                    return;
                }
                let expected = model.file[pos..pos + bytes].to_vec();
                assert!(world.space.peek(at, bytes) == expected, "bytes at {pos} of the file");
                model.set_user(at, &expected);
                (pos, at) = (pos + bytes, at + bytes);
            }
            Err(NotYet::WouldFault(range)) => {
                if !missing.resolve(world, range, at, Access::Write).await {
                    return;
                }
            }
            Err(NotYet::Failed(errno)) => return world.may_fail(errno),
            Err(other) => panic!("a read ended with {other:?}"),
        }
    }
}

/// A place of the program's in one page, inside the file if it shows that.
fn place(world: &World) -> (usize, usize) {
    let size = world.model.borrow().file.len();
    let at = if world.below(2) == 0 { world.below(size) } else { FILES * PAGE_SIZE };
    let left = PAGE_SIZE - at % PAGE_SIZE;
    let inside = if at < size { left.min(size - at) } else { left };
    (at, 1 + world.below(inside.min(100)))
}

/// The program stores some bytes.
async fn store(world: &World) {
    let (at, len) = place(world);
    let bytes = world.rng.borrow_mut().bytes(len);
    while !world.space.store(at, &bytes) {
        if !world.fault(at / PAGE_SIZE, Access::Write).await {
            return;
        }
    }
    world.model.borrow_mut().set_user(at, &bytes);
}

/// The program loads some bytes.
async fn load(world: &World) {
    let (at, len) = place(world);
    while !world.space.allows(at / PAGE_SIZE, Access::Read) {
        if !world.fault(at / PAGE_SIZE, Access::Read).await {
            return;
        }
    }
    assert!(world.space.peek(at, len) == world.model.borrow().user(at, len), "bytes at {at}");
}

/// Syncs the file: what had not changed since is on the store.
async fn sync(world: &World) {
    let begin = world.model.borrow().changes();
    let mut calls = world.file.nonblocking();
    let synced =
        world.poll(|task| calls.fsync_range(&mut token(), SyncKind::All, 0..u64::MAX, task));
    match synced.await {
        Ok(()) => {
            let stored = world.store.inner().contents();
            world.model.borrow().assert_synced(&stored[FIRST * PAGE_SIZE..], &begin);
        }
        Err(NotYet::Failed(errno)) => world.may_fail(errno),
        Err(other) => panic!("a sync ended with {other:?}"),
    }
}

/// Extends the file by a hole.
async fn set_size(world: &World) {
    let (mut calls, more) = (world.file.nonblocking(), world.below(PAGE_SIZE));
    // Other tasks may have appended meanwhile.
    let size = || {
        let now = world.model.borrow().file.len();
        now.max(END.min(now + more))
    };
    let set = world.poll(|task| {
        let size = (FIRST * PAGE_SIZE + size()) as u64;
        calls.set_size(&mut token(), size, task)
    });
    match set.await {
        Ok(()) => {
            let size = size();
            world.model.borrow_mut().grow(size);
        }
        Err(other) => panic!("an extension ended with {other:?}"),
    }
}
