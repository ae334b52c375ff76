//! What programs are told of that happens to files (`inotify`): the events. The file that a program
//! reads them from is in `notices`.
//!
//! Key types: [`Queue`]; [`Watch`], of a node, which stands in one table for all and keeps the node
//! until it is gone. An event is told to the watches of the node's directory, if the node was found
//! by a name in it ([`Place`]), and to its own.
//!
//! As long as no program has a queue, nodes know no places and nothing is counted.
#![forbid(unsafe_code)]

use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicU32, AtomicUsize};

use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;

use faultless_posix::{AccessMode, Errno, Kind};
use linux_raw_sys::general as linux;

use crate::files::vnode::{Handle, Place};
use crate::sync::Lock;
use crate::waits::{key_of, wake_pollers};

/// Events that a queue holds, but for the one that says that there were more.
const MOST: usize = 16_384;

/// Bytes of `struct inotify_event` before the name, and what a name is filled up to.
const EVENT: usize = 16;

/// Events of the node itself alone, which do not say that it is a directory.
const OF_SELF: u32 = linux::IN_DELETE_SELF | linux::IN_MOVE_SELF | linux::IN_IGNORED;

/// What says how a watch is, and not which events it is of.
const HOW: u32 = linux::IN_EXCL_UNLINK | linux::IN_ONESHOT;

/// The numbers of a node.
type Key = (u64, u64);

/// Queues that there are.
static QUEUES: AtomicUsize = AtomicUsize::new(0);

/// Pairs of events are told apart by a number.
static COOKIES: AtomicU32 = AtomicU32::new(0);

static WATCHES: Lock<BTreeMap<Key, Vec<Watch>>> = Lock::new(BTreeMap::new());

/// How often a node is open, as far as that is counted.
static OPEN: Lock<BTreeMap<Key, usize>> = Lock::new(BTreeMap::new());

#[derive(PartialEq, Eq)]
struct Event {
    watch: i32,
    mask: u32,
    name: Vec<u8>,
    cookie: u32,
}

impl Event {
    /// Bytes of the name, with zeros.
    fn room(&self) -> usize {
        if self.name.is_empty() { 0 } else { (self.name.len() + 1).next_multiple_of(EVENT) }
    }

    /// `struct inotify_event`.
    fn bytes(&self) -> Vec<u8> {
        let words = [self.watch.cast_unsigned(), self.mask, self.cookie, self.room() as u32];
        let mut bytes = words.map(u32::to_ne_bytes).as_flattened().to_vec();
        bytes.extend_from_slice(&self.name);
        bytes.resize(EVENT + self.room(), 0);
        bytes
    }
}

/// What a program has not read yet.
pub(super) struct Queue {
    events: Lock<VecDeque<Event>>,
    next: AtomicU32,
}

impl Queue {
    /// An empty queue.
    pub(super) fn new() -> Arc<Self> {
        QUEUES.fetch_add(1, Relaxed);
        Arc::new(Self { events: Lock::new(VecDeque::new()), next: AtomicU32::new(0) })
    }

    /// Adds an event, unless it is the same as the last one.
    fn push(&self, event: Event) {
        let mut events = self.events.lock();
        let is_same = events.back().is_some_and(|last| {
            (last.watch, last.mask, &last.name) == (event.watch, event.mask, &event.name)
        });
        if is_same && event.mask & linux::IN_IGNORED == 0 {
            return;
        }
        if events.len() < MOST {
            events.push_back(event);
        } else if events.len() == MOST {
            let mask = linux::IN_Q_OVERFLOW;
            events.push_back(Event { watch: -1, mask, name: Vec::new(), cookie: 0 });
        }
    }

    /// Whether there are events.
    pub(super) fn has_events(&self) -> bool {
        !self.events.lock().is_empty()
    }

    /// The first event, taken out, if its bytes fit in so many.
    ///
    /// # Errors
    /// `EINVAL`: they do not.
    pub(super) fn take(&self, room: usize) -> Result<Option<Vec<u8>>, Errno> {
        let mut events = self.events.lock();
        let Some(first) = events.front() else { return Ok(None) };
        let bytes = first.bytes();
        if bytes.len() > room {
            return Err(Errno::INVAL);
        }
        let taken = events.pop_front();
        drop(events);
        drop(taken);
        Ok(Some(bytes))
    }

    /// Bytes of all events.
    pub(super) fn len_bytes(&self) -> usize {
        self.events.lock().iter().map(|event| EVENT + event.room()).sum()
    }

    /// `inotify_add_watch`: the number of the watch.
    ///
    /// # Errors
    /// `EEXIST` with `IN_MASK_CREATE`.
    pub(super) fn watch(self: &Arc<Self>, node: &Handle, mask: u32) -> Result<usize, Errno> {
        let kept = mask & (linux::IN_ALL_EVENTS | HOW);
        let mut watches = WATCHES.lock();
        let of_node = watches.entry(node.id()).or_default();
        let own = of_node.iter_mut().find(|watch| Arc::ptr_eq(&watch.queue, self));
        if let Some(watch) = own {
            if mask & linux::IN_MASK_CREATE != 0 {
                return Err(Errno::EXIST);
            }
            let added = mask & linux::IN_MASK_ADD != 0;
            watch.mask = if added { watch.mask | kept } else { kept };
            return Ok(watch.number as usize);
        }
        let number = (self.next.fetch_add(1, Relaxed) + 1).cast_signed();
        let (queue, node) = (Arc::clone(self), Arc::clone(node));
        of_node.push(Watch { queue, number, mask: kept, _node: node });
        Ok(number as usize)
    }

    /// `inotify_rm_watch`.
    ///
    /// # Errors
    /// `EINVAL`: there is no such watch.
    pub(super) fn forget(self: &Arc<Self>, number: i32) -> Result<(), Errno> {
        let ended = self.take_watches(|watch| watch.number == number);
        if ended.is_empty() {
            return Err(Errno::INVAL);
        }
        ended.iter().for_each(Watch::end);
        wake_pollers(key_of(&**self));
        Ok(())
    }

    /// No program reads it any more.
    pub(super) fn close(self: &Arc<Self>) {
        QUEUES.fetch_sub(1, Relaxed);
        drop(self.take_watches(|_| true));
    }

    /// Takes watches of its own out of the table.
    fn take_watches(self: &Arc<Self>, is_meant: impl Fn(&Watch) -> bool) -> Vec<Watch> {
        let mut taken = Vec::new();
        let mut watches = WATCHES.lock();
        for of_node in watches.values_mut() {
            let is_own = |watch: &mut Watch| Arc::ptr_eq(&watch.queue, self) && is_meant(watch);
            taken.extend(of_node.extract_if(.., is_own));
        }
        watches.retain(|_, of_node| !of_node.is_empty());
        taken
    }
}

/// A watch of a node.
struct Watch {
    queue: Arc<Queue>,
    number: i32,
    mask: u32,
    /// Keeps the node, whose number is not used again.
    _node: Handle,
}

impl Watch {
    fn event(&self, mask: u32, name: &[u8], cookie: u32) -> Event {
        Event { watch: self.number, mask, name: name.into(), cookie }
    }

    /// Says that it is gone.
    fn end(&self) {
        self.queue.push(self.event(linux::IN_IGNORED, b"", 0));
    }
}

/// Whether any program could be told of anything.
pub(super) fn are_there() -> bool {
    QUEUES.load(Relaxed) > 0
}

/// What an event says beside its mask.
#[derive(Clone, Copy, Default)]
struct Said<'n> {
    name: &'n [u8],
    cookie: u32,
    /// The node has no name any more.
    is_unlinked: bool,
}

/// Tells the watches of a node.
fn tell(key: Key, mask: u32, said: Said<'_>) {
    let (mut told, mut ended) = (Vec::new(), Vec::new());
    {
        let mut watches = WATCHES.lock();
        let Some(of_node) = watches.get_mut(&key) else { return };
        for watch in of_node.iter() {
            let is_excluded = said.is_unlinked && watch.mask & linux::IN_EXCL_UNLINK != 0;
            if watch.mask & mask & linux::IN_ALL_EVENTS != 0 && !is_excluded {
                watch.queue.push(watch.event(mask, said.name, said.cookie));
                told.push(Arc::clone(&watch.queue));
            }
        }
        let is_over = |watch: &mut Watch| {
            watch.mask & linux::IN_ONESHOT != 0 && watch.mask & mask & linux::IN_ALL_EVENTS != 0
        };
        ended.extend(of_node.extract_if(.., is_over));
        ended.iter().for_each(Watch::end);
    }
    // With the table free: a watch may have the last handle of its node.
    drop(ended);
    told.iter().for_each(|queue| wake_pollers(key_of(&**queue)));
}

/// The bit of an event that says that it is about a directory.
fn directory_bit(node: &Handle, mask: u32) -> u32 {
    let is_directory = node.kind() == Kind::Directory && mask & OF_SELF == 0;
    if is_directory { linux::IN_ISDIR } else { 0 }
}

/// Something has happened to a node: tells the watches of its directory, and its own.
pub(crate) fn notify(node: &Handle, mask: u32) {
    if !are_there() {
        return;
    }
    let mask = mask | directory_bit(node, mask);
    if let Some(Place { directory, name }) = node.place() {
        let is_unlinked = node.attributes().is_ok_and(|told| told.status.links == 0);
        tell(directory.id(), mask, Said { name, is_unlinked, cookie: 0 });
    }
    tell(node.id(), mask, Said::default());
}

/// Something has happened to a node that its directory is not told of.
pub(super) fn notify_self(node: &Handle, mask: u32) {
    if are_there() {
        tell(node.id(), mask | directory_bit(node, mask), Said::default());
    }
}

/// A name of a directory has come or gone, which was or is this node's.
pub(super) fn notify_name(directory: &Handle, name: &[u8], node: &Handle, mask: u32) {
    if are_there() {
        let said = Said { name, ..Said::default() };
        tell(directory.id(), mask | directory_bit(node, mask), said);
    }
}

/// A node has got another name.
pub(super) fn notify_move(from: (&Handle, &[u8]), to: (&Handle, &[u8]), node: &Handle) {
    if !are_there() {
        return;
    }
    let cookie = COOKIES.fetch_add(1, Relaxed).wrapping_add(1);
    let sides = [(from, linux::IN_MOVED_FROM), (to, linux::IN_MOVED_TO)];
    for ((directory, name), mask) in sides {
        let said = Said { name, cookie, is_unlinked: false };
        tell(directory.id(), mask | directory_bit(node, mask), said);
    }
    notify_self(node, linux::IN_MOVE_SELF);
}

/// A node has lost a name. If that was the last one, and it is not open, its watches end.
pub(super) fn notify_loss(node: &Handle) {
    if are_there() {
        if node.kind() != Kind::Directory {
            notify_self(node, linux::IN_ATTRIB);
        }
        end_if_gone(node);
    }
}

fn end_if_gone(node: &Handle) {
    let key = node.id();
    let is_gone = node.attributes().is_ok_and(|told| told.status.links == 0);
    if !is_gone || OPEN.lock().contains_key(&key) {
        return;
    }
    tell(key, linux::IN_DELETE_SELF, Said::default());
    let ended = WATCHES.lock().remove(&key).unwrap_or_default();
    for watch in &ended {
        watch.end();
        wake_pollers(key_of(&*watch.queue));
    }
    drop(ended);
}

/// A node is open, as long as this is there.
pub(super) struct OpenNode {
    node: Handle,
    writes: bool,
    is_counted: bool,
}

impl OpenNode {
    pub(super) fn new(node: &Handle, flags: u32) -> Self {
        let is_counted = are_there();
        if is_counted {
            *OPEN.lock().entry(node.id()).or_insert(0) += 1;
            notify(node, linux::IN_OPEN);
        }
        let writes = AccessMode::from_open_flags(flags).contains(AccessMode::WRITE);
        Self { node: Arc::clone(node), writes, is_counted }
    }
}

impl Drop for OpenNode {
    fn drop(&mut self) {
        let closed = if self.writes { linux::IN_CLOSE_WRITE } else { linux::IN_CLOSE_NOWRITE };
        notify(&self.node, closed);
        if !self.is_counted {
            return;
        }
        {
            let mut open = OPEN.lock();
            if let Some(count) = open.get_mut(&self.node.id()) {
                *count -= 1;
                if *count == 0 {
                    open.remove(&self.node.id());
                }
            }
        }
        end_if_gone(&self.node);
    }
}
