//! Where programs fetch what became of their asynchronous requests (`io_setup`).
#![forbid(unsafe_code)]

use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;

use faultless_posix::Errno;

use crate::sync::Lock;
use crate::waits::{key_of, wake};

/// The words of a `struct io_event`: the program's data, its request, and the result.
pub(crate) type Event = [u64; 4];

/// Requests of all contexts of a process, at most.
const MOST: usize = 65_536;

/// The contexts of a process, by the addresses of their rings.
#[derive(Debug)]
pub(crate) struct Contexts(Lock<BTreeMap<usize, Arc<Context>>>);

/// Requests that were submitted together, and are fetched together.
#[derive(Debug)]
pub(crate) struct Context {
    state: Lock<State>,
    room: usize,
}

#[derive(Debug, Default)]
struct State {
    ended: VecDeque<Event>,
    /// Requests that were submitted and not fetched.
    held: usize,
    is_gone: bool,
}

impl Contexts {
    /// None.
    pub(super) const fn new() -> Self {
        Self(Lock::new(BTreeMap::new()))
    }

    /// Adds a context with room for so many requests.
    ///
    /// # Errors
    /// `EAGAIN`: the process has too many.
    pub(crate) fn add(&self, number: usize, room: usize) -> Result<(), Errno> {
        let context = Arc::new(Context { state: Lock::new(State::default()), room });
        let mut contexts = self.0.lock();
        let held: usize = contexts.values().map(|context| context.room).sum();
        if held + room > MOST {
            drop(contexts);
            return Err(Errno::AGAIN);
        }
        contexts.insert(number, context);
        Ok(())
    }

    /// The context of a number.
    ///
    /// # Errors
    /// `EINVAL`: there is none.
    pub(crate) fn get(&self, number: usize) -> Result<Arc<Context>, Errno> {
        self.0.lock().get(&number).cloned().ok_or(Errno::INVAL)
    }

    /// Takes a context away. Those that wait for its requests wait no more.
    ///
    /// # Errors
    /// `EINVAL`: there is none.
    pub(crate) fn remove(&self, number: usize) -> Result<(), Errno> {
        let context = self.0.lock().remove(&number).ok_or(Errno::INVAL)?;
        context.state.lock().is_gone = true;
        wake(key_of(&*context));
        Ok(())
    }
}

impl Context {
    /// Requests that it has room for.
    pub(crate) const fn room(&self) -> usize {
        self.room
    }

    /// Takes room for a request.
    ///
    /// # Errors
    /// `EAGAIN`: others have to be fetched first.
    pub(crate) fn hold(&self) -> Result<(), Errno> {
        let mut state = self.state.lock();
        if state.held == self.room {
            return Err(Errno::AGAIN);
        }
        state.held += 1;
        Ok(())
    }

    /// Gives the room of a request back that was not begun.
    pub(crate) fn let_go(&self) {
        self.state.lock().held -= 1;
    }

    /// A request has ended.
    pub(crate) fn end(&self, event: Event) {
        self.state.lock().ended.push_back(event);
        wake(key_of(self));
    }

    /// Whether so many requests can be fetched.
    ///
    /// # Errors
    /// `EINVAL`: the context was taken away.
    pub(crate) fn has(&self, count: usize) -> Result<bool, Errno> {
        let state = self.state.lock();
        if state.is_gone { Err(Errno::INVAL) } else { Ok(state.ended.len() >= count) }
    }

    /// What became of the requests that have ended, of so many at most.
    pub(crate) fn fetch(&self, most: usize) -> Vec<Event> {
        let mut state = self.state.lock();
        let count = most.min(state.ended.len());
        state.held -= count;
        state.ended.drain(..count).collect()
    }
}
