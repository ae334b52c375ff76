//! Numbers that are waited for: counters (`eventfd`) and timers (`timerfd`).
#![forbid(unsafe_code)]

use core::any::Any;

use alloc::sync::Arc;

use faultless::prelude::MayFault;
use faultless_posix::{Errno, Kind};
use linux_raw_sys::general as linux;

use crate::arch::clock;
use crate::files::edges::{Edges, Seen};
use crate::files::file::{File, OpenFile, Ready};
use crate::files::nodes::{Attributes, stream_attributes};
use crate::files::stream_flags::StreamFlags;
use crate::memory::{UserBytes, copy_in, copy_out};
use crate::sync::Lock;
use crate::task::{wait_interruptibly, wait_until};
use crate::waits::{key_of, wake_pollers};

/// The largest count of an `eventfd`.
const MOST: u64 = u64::MAX - 1;

/// Bytes that are read or written.
const WORD: usize = 8;

fn put_word(token: &mut MayFault, to: &mut UserBytes<'_>, word: u64) -> Result<usize, Errno> {
    match copy_out(to, token, &word.to_ne_bytes()) {
        WORD => Ok(WORD),
        _ => Err(Errno::FAULT),
    }
}

/// How an `eventfd` is counted down.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counts {
    /// To zero.
    All,
    /// One by one.
    One,
}

struct Counter {
    count: Lock<u64>,
    edges: Edges,
    counts: Counts,
    flags: StreamFlags,
}

/// `eventfd2`.
pub(crate) fn counter(count: u32, counts: Counts, flags: u32) -> OpenFile {
    let flags = StreamFlags::new(linux::O_RDWR, flags);
    let (count, edges) = (Lock::new(count.into()), Edges::default());
    Arc::new(Counter { count, edges, counts, flags })
}

/// Whether a file is an `eventfd`.
pub(crate) fn is_counter(file: &OpenFile) -> bool {
    file.kind::<Counter>().is_some()
}

/// Counts one event more, if there is room for it.
pub(crate) fn count_one(file: &OpenFile) {
    if let Some(counter) = file.kind::<Counter>() {
        {
            let mut count = counter.count.lock();
            *count = (*count + 1).min(MOST);
        }
        counter.edges.came();
        wake_pollers(key_of(counter));
    }
}

impl File for Counter {
    fn read(&self, token: &mut MayFault, to: &mut UserBytes<'_>) -> Result<usize, Errno> {
        if to.count() < WORD {
            return Err(Errno::INVAL);
        }
        let take = || {
            let mut count = self.count.lock();
            let taken = if self.counts == Counts::One { (*count).min(1) } else { *count };
            *count -= taken;
            taken
        };
        let mut taken = take();
        if taken == 0 {
            self.flags.need_wait()?;
            wait_interruptibly(key_of(self), &mut || {
                taken = take();
                taken > 0
            })?;
        }
        self.edges.left();
        wake_pollers(key_of(self));
        put_word(token, to, taken)
    }

    fn write(&self, token: &mut MayFault, from: &mut UserBytes<'_>) -> Result<usize, Errno> {
        if from.count() < WORD {
            return Err(Errno::INVAL);
        }
        let mut bytes = [0; WORD];
        if copy_in(from, token, &mut bytes) < WORD {
            return Err(Errno::FAULT);
        }
        let more = u64::from_ne_bytes(bytes);
        if more > MOST {
            return Err(Errno::INVAL);
        }
        let add = || {
            let mut count = self.count.lock();
            let fits = more <= MOST - *count;
            *count += if fits { more } else { 0 };
            fits
        };
        if !add() {
            self.flags.need_wait()?;
            wait_interruptibly(key_of(self), &mut { add })?;
        }
        self.edges.came();
        wake_pollers(key_of(self));
        Ok(WORD)
    }

    fn edges(&self) -> Option<Seen> {
        Some(self.edges.now())
    }

    fn attributes(&self) -> Result<Attributes, Errno> {
        Ok(stream_attributes(Kind::File, 0))
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }

    fn flags(&self) -> u32 {
        self.flags.get()
    }

    fn set_flags(&self, flags: u32) {
        self.flags.set(flags);
    }

    fn ready(&self) -> Ready {
        let count = *self.count.lock();
        let mut ready = Ready::empty();
        ready.set(Ready::IN, count > 0);
        ready.set(Ready::OUT, count < MOST);
        ready
    }
}

/// When a timer goes off, on the monotonic clock, and how often again, in nanoseconds; both 0 if it
/// does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) at: u64,
    pub(crate) interval: u64,
}

impl Setting {
    /// How often it went off until `now`.
    const fn expired(self, now: u64) -> u64 {
        match (self.at, self.interval) {
            (0, _) => 0,
            (at, _) if at > now => 0,
            (_, 0) => 1,
            (at, interval) => (now - at) / interval + 1,
        }
    }

    /// What is left of it when that was told.
    const fn after(self, expired: u64) -> Self {
        match (expired, self.interval) {
            (0, _) => self,
            (_, 0) => Self { at: 0, interval: 0 },
            (expired, interval) => Self { at: self.at + expired * interval, interval },
        }
    }
}

/// A timer that is open.
pub(crate) struct TimerFile {
    setting: Lock<Setting>,
    flags: StreamFlags,
    pub(crate) clock: Clock,
}

/// The clock that a timer was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clock {
    /// That of the day.
    Real,
    Monotonic,
}

/// `timerfd_create`.
pub(crate) fn timer(clock: Clock, flags: u32) -> OpenFile {
    let flags = StreamFlags::new(linux::O_RDWR, flags);
    Arc::new(TimerFile { setting: Lock::new(Setting::default()), flags, clock })
}

impl TimerFile {
    /// Sets it; what it was set to, with the next time that it goes off.
    pub(crate) fn set(&self, setting: Setting) -> Setting {
        let before = {
            let mut own = self.setting.lock();
            core::mem::replace(&mut *own, setting)
        };
        wake_pollers(key_of(self));
        before.after(before.expired(clock::monotonic()))
    }

    /// What it is set to, with the next time that it goes off.
    pub(crate) fn get(&self) -> Setting {
        let setting = *self.setting.lock();
        setting.after(setting.expired(clock::monotonic()))
    }

    fn take(&self) -> u64 {
        let mut setting = self.setting.lock();
        let expired = setting.expired(clock::monotonic());
        *setting = setting.after(expired);
        expired
    }
}

impl File for TimerFile {
    fn read(&self, token: &mut MayFault, to: &mut UserBytes<'_>) -> Result<usize, Errno> {
        if to.count() < WORD {
            return Err(Errno::INVAL);
        }
        loop {
            let taken = self.take();
            if taken > 0 {
                return put_word(token, to, taken);
            }
            self.flags.need_wait()?;
            let before = *self.setting.lock();
            let until = (before.at > 0).then_some(before.at);
            match wait_until(key_of(self), until, &mut || *self.setting.lock() != before) {
                Ok(()) | Err(Errno::TIMEDOUT) => {}
                Err(errno) => return Err(errno),
            }
        }
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }

    fn attributes(&self) -> Result<Attributes, Errno> {
        Ok(stream_attributes(Kind::File, 0))
    }

    fn flags(&self) -> u32 {
        self.flags.get()
    }

    fn set_flags(&self, flags: u32) {
        self.flags.set(flags);
    }

    fn ready(&self) -> Ready {
        let expired = self.setting.lock().expired(clock::monotonic());
        if expired > 0 { Ready::IN } else { Ready::empty() }
    }

    fn wakes_at(&self) -> Option<u64> {
        let setting = self.get();
        (setting.at > 0).then_some(setting.at)
    }
}
