//! Sets of files that are waited for (`epoll`). A program that asks for edges is told of a file
//! once for each time that it became ready, as far as the file counts these ([`File::edges`]).
#![forbid(unsafe_code)]

use core::any::Any;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::{Acquire, Release};

use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;

use faultless_posix::{Errno, Kind};
use linux_raw_sys::general as linux;

use crate::files::edges::Seen;
use crate::files::file::{File, OpenFile, Ready};
use crate::files::nodes::{Attributes, stream_attributes};
use crate::sync::Lock;
use crate::waits::{poll_key, wake};

/// Files of one set, at most.
const MOST: usize = 65_536;

/// The bits of `events` that say how, and not what, is told.
const ONE_SHOT: u32 = linux::EPOLLONESHOT;
const EDGES: u32 = linux::EPOLLET;
const ALONE: u32 = linux::EPOLLEXCLUSIVE;

/// What can be asked for together with [`ALONE`].
const WITH_ALONE: u32 = linux::EPOLLIN
    | linux::EPOLLOUT
    | linux::EPOLLERR
    | linux::EPOLLHUP
    | linux::EPOLLWAKEUP
    | EDGES
    | ALONE;

/// A file that is waited for.
#[derive(Clone)]
struct Interest {
    descriptor: u32,
    /// The set does not keep a file open.
    file: Weak<dyn File>,
    events: u32,
    data: u64,
    /// How often it had become ready when it was told of; none if it was not yet.
    seen: Option<Seen>,
}

/// A set of files.
pub(crate) struct Epoll {
    interests: Lock<Vec<Interest>>,
    /// Goes up with each change of the set.
    changes: AtomicU64,
    /// Files that were looked at while a thread waited. None is dropped there: the last handle may
    /// wake others.
    held: Lock<Vec<OpenFile>>,
    /// Sets that this one was put into; it may be in them no more.
    above: Lock<Vec<Weak<dyn File>>>,
}

/// Sets that are in each other, at most: what asks the outermost one asks them all in turn, on one
/// kernel stack.
const NESTED: usize = 5;

/// Held while a set is put into another one.
static NESTING: Lock<()> = Lock::new(());

/// The files of a set, at one time.
pub(crate) struct Looked {
    files: Vec<(Interest, OpenFile)>,
    changes: u64,
}

/// An empty set.
pub(crate) fn epoll() -> OpenFile {
    Arc::new(Epoll {
        interests: Lock::new(Vec::new()),
        changes: AtomicU64::new(0),
        held: Lock::new(Vec::new()),
        above: Lock::new(Vec::new()),
    })
}

impl Epoll {
    fn position(interests: &[Interest], descriptor: u32, file: &OpenFile) -> Option<usize> {
        let is_same = |interest: &Interest| {
            interest.descriptor == descriptor && interest.file.ptr_eq(&Arc::downgrade(file))
        };
        interests.iter().position(is_same)
    }

    /// Whether it has this set among its files.
    fn has(&self, set: &OpenFile) -> bool {
        let of = Arc::downgrade(set);
        self.interests.lock().iter().any(|interest| interest.file.ptr_eq(&of))
    }

    /// The sets that are in this one. Handles that are no more needed go to `done`: none is dropped
    /// with a lock held.
    fn below(&self, done: &mut Vec<OpenFile>) -> Vec<OpenFile> {
        let interests = self.interests.lock();
        let files = interests.iter().filter_map(|interest| interest.file.upgrade());
        let files: Vec<OpenFile> = files.collect();
        let sets = files.iter().filter(|file| file.kind::<Self>().is_some()).cloned().collect();
        done.extend(files);
        sets
    }

    /// The sets that this one, `own`, is in.
    fn above(&self, own: &OpenFile, done: &mut Vec<OpenFile>) -> Vec<OpenFile> {
        let above: Vec<OpenFile> = self.above.lock().iter().filter_map(Weak::upgrade).collect();
        let has = |set: &&OpenFile| set.kind::<Self>().is_some_and(|set| set.has(own));
        let sets = above.iter().filter(has).cloned().collect();
        done.extend(above);
        sets
    }

    /// Notes that a set is about to be put into this one, `own`.
    ///
    /// # Errors
    /// `ELOOP`: this one is in it, or too many would be in each other.
    fn nest(&self, own: &OpenFile, inner: &OpenFile) -> Result<(), Errno> {
        let Some(set) = inner.kind::<Self>() else { return Ok(()) };
        let mut done = Vec::new();
        let allowed = {
            let _nesting = NESTING.lock();
            let below = levels(inner, &mut |set, _| set.below(&mut done));
            let is_inside = below.iter().flatten().any(|set| Arc::ptr_eq(set, own));
            let above = levels(own, &mut |set, own| set.above(own, &mut done));
            let allowed = !is_inside && below.len() + above.len() <= NESTED;
            if allowed {
                set.above.lock().push(Arc::downgrade(own));
            }
            done.extend(below.into_iter().chain(above).flatten());
            allowed
        };
        if allowed { Ok(()) } else { Err(Errno::LOOP) }
    }

    /// `epoll_ctl` of this set, `own`.
    ///
    /// # Errors
    /// `EEXIST`, `ENOENT`; `EPERM` for a file that is always ready; `EINVAL` for the set itself,
    /// and a change of what waits alone (`EPOLLEXCLUSIVE`); `ELOOP` for sets in each other;
    /// `ENOSPC` for too many files.
    pub(crate) fn change(
        &self,
        own: &OpenFile,
        operation: u32,
        (descriptor, file): (u32, &OpenFile),
        events: u32,
        data: u64,
    ) -> Result<(), Errno> {
        if file.regular().is_some() || file.directory().is_some() {
            return Err(Errno::PERM);
        }
        if file.kind::<Epoll>().is_some_and(|other| core::ptr::eq(other, self)) {
            return Err(Errno::INVAL);
        }
        let is_set = file.kind::<Self>().is_some();
        let cannot = events & !WITH_ALONE != 0 || is_set || operation == linux::EPOLL_CTL_MOD;
        if operation != linux::EPOLL_CTL_DEL && events & ALONE != 0 && cannot {
            return Err(Errno::INVAL);
        }
        if operation == linux::EPOLL_CTL_ADD {
            self.nest(own, file)?;
        }
        {
            let mut interests = self.interests.lock();
            interests.retain(|interest| interest.file.strong_count() > 0);
            let at = Self::position(&interests, descriptor, file);
            match (operation, at) {
                (linux::EPOLL_CTL_ADD, Some(_)) => return Err(Errno::EXIST),
                (linux::EPOLL_CTL_ADD, None) if interests.len() >= MOST => {
                    return Err(Errno::NOSPC);
                }
                (linux::EPOLL_CTL_ADD, None) => {
                    let file = Arc::downgrade(file);
                    interests.push(Interest { descriptor, file, events, data, seen: None });
                }
                (linux::EPOLL_CTL_MOD | linux::EPOLL_CTL_DEL, None) => return Err(Errno::NOENT),
                (linux::EPOLL_CTL_MOD, Some(at)) if interests[at].events & ALONE != 0 => {
                    return Err(Errno::INVAL);
                }
                (linux::EPOLL_CTL_MOD, Some(at)) => {
                    let before = &mut interests[at];
                    (before.events, before.data, before.seen) = (events, data, None);
                }
                (linux::EPOLL_CTL_DEL, Some(at)) => {
                    interests.remove(at);
                }
                _ => return Err(Errno::INVAL),
            }
        }
        self.changes.fetch_add(1, Release);
        wake(poll_key());
        Ok(())
    }

    /// The files as they are now, which stay open until this is dropped.
    pub(crate) fn files(&self) -> Looked {
        let changes = self.changes.load(Acquire);
        let interests = self.interests.lock().clone();
        let files = interests.into_iter().filter_map(|interest| {
            let file = interest.file.upgrade()?;
            Some((interest, file))
        });
        Looked { files: files.collect(), changes }
    }

    /// Whether the set has changed since.
    pub(crate) fn has_changed_since(&self, looked: &Looked) -> bool {
        self.changes.load(Acquire) != looked.changes
    }

    /// Whether a file that is ready, and had become so as often as `edges` say, is to be told of:
    /// not if that was done already, by another thread or before.
    fn tells(&self, interest: &Interest, edges: Option<Seen>) -> bool {
        let mut interests = self.interests.lock();
        let is_same = |own: &&mut Interest| {
            own.descriptor == interest.descriptor && own.file.ptr_eq(&interest.file)
        };
        let Some(own) = interests.iter_mut().find(is_same) else { return false };
        if !own.is_told(edges) || own.events != interest.events {
            return false;
        }
        own.seen = edges;
        if own.events & ONE_SHOT != 0 {
            own.events &= ONE_SHOT;
            self.changes.fetch_add(1, Release);
        }
        true
    }
}

impl Interest {
    /// Whether its file is told of, which is ready, and became so as often as `edges` say.
    fn is_told(&self, edges: Option<Seen>) -> bool {
        match (edges, self.seen) {
            (Some(now), Some(before)) if self.events & EDGES != 0 => {
                let asked = Ready::from_bits_truncate(self.events);
                let writes = asked.contains(Ready::OUT);
                let reads = asked.intersects(Ready::IN | Ready::HANG_UP_IN) || !writes;
                (reads && now.ins != before.ins) || (writes && now.outs != before.outs)
            }
            _ => true,
        }
    }
}

/// A set, the sets that `next` finds from it, those that are found from them, and so on, up to one
/// level more than there may be.
fn levels(
    set: &OpenFile,
    next: &mut dyn FnMut(&Epoll, &OpenFile) -> Vec<OpenFile>,
) -> Vec<Vec<OpenFile>> {
    let mut levels = alloc::vec![alloc::vec![OpenFile::clone(set)]];
    while levels.len() <= NESTED
        && let Some(last) = levels.last()
    {
        let found: Vec<OpenFile> = last
            .iter()
            .filter_map(|file| Some((file.kind::<Epoll>()?, file)))
            .flat_map(|(set, file)| next(set, file))
            .collect();
        if found.is_empty() {
            break;
        }
        levels.push(found);
    }
    levels
}

/// What of a file is ready that a program asks for.
fn ready_of(interest: &Interest, file: &OpenFile) -> u32 {
    // One that was told of once is asked for nothing.
    if interest.events & !ONE_SHOT == 0 { 0 } else { file.ready().told(interest.events) }
}

impl Looked {
    /// What is ready, up to `most`: events and data.
    pub(crate) fn ready(&self, of: &Epoll, most: usize) -> Vec<(u32, u64)> {
        let mut found = Vec::new();
        for (interest, file) in &self.files {
            // Before the look: what becomes ready behind it is told of once more.
            let edges = file.edges();
            let ready = ready_of(interest, file);
            if ready != 0 && found.len() < most && of.tells(interest, edges) {
                found.push((ready, interest.data));
            }
        }
        found
    }

    /// When one of the files becomes ready by itself.
    pub(crate) fn wakes_at(&self) -> Option<u64> {
        self.files.iter().filter_map(|(_, file)| file.wakes_at()).min()
    }
}

impl File for Epoll {
    fn attributes(&self) -> Result<Attributes, Errno> {
        Ok(stream_attributes(Kind::File, 0))
    }

    fn flags(&self) -> u32 {
        linux::O_RDWR
    }

    fn set_flags(&self, _flags: u32) {}

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }

    fn ready(&self) -> Ready {
        let Looked { files, .. } = self.files();
        let any = files.iter().any(|(interest, file)| {
            interest.is_told(file.edges()) && ready_of(interest, file) != 0
        });
        self.held.lock().extend(files.into_iter().map(|(_, file)| file));
        if any { Ready::IN } else { Ready::empty() }
    }

    fn wakes_at(&self) -> Option<u64> {
        let looked = self.files();
        let before = core::mem::take(&mut *self.held.lock());
        drop(before);
        looked.wakes_at()
    }
}
