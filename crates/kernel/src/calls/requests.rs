//! Asynchronous reads and writes (`io_submit`). A request is carried out by the thread that submits
//! it, which may sleep: what it becomes is fetched as on Linux.
#![forbid(unsafe_code)]

use alloc::sync::Arc;

use faultless::prelude::{MayFault, PAGE_SIZE, SyncKind};
use faultless_posix::{Errno, Rights, RwFlags};
use linux_raw_sys::general as linux;

use crate::arch::clock;
use crate::calls::call::{Call, Outcome};
use crate::calls::io::{need, sync_file};
use crate::calls::poll::mask;
use crate::calls::time::timespec;
use crate::files::{self, OpenFile};
use crate::memory::{
    AddressSpace, UserBytes, get_words, put, put_words, shared_anonymous, with_buffer, with_vector,
};
use crate::process::{Context, Event, Layout};
use crate::task::wait_until;
use crate::waits::key_of;

/// Requests of one context, at most.
const MOST: usize = 0x80_0000;

/// The context that a program names by the address of its ring, which is there.
fn context(call: &mut Call<'_>, number: usize) -> Result<Arc<Context>, Errno> {
    let context = call.process.memory()?.contexts.get(number)?;
    get_words::<1>(&mut call.token, number).map_err(|_| Errno::INVAL)?;
    Ok(context)
}

/// The ring holds nothing: what has ended is fetched by the call alone, as programs do that do not
/// know the version of a ring.
pub(super) fn io_setup(call: &mut Call<'_>) -> Outcome {
    let [count, target, ..] = call.args;
    let count = count as u32 as usize;
    let [old] = get_words(&mut call.token, target)?;
    if old != 0 || count == 0 || count > MOST {
        return Err(Errno::INVAL);
    }
    let memory = call.process.memory()?;
    let ring = shared_anonymous(PAGE_SIZE, Rights::READ | Rights::WRITE)?;
    let layout = memory.layout.lock();
    let number = layout.map(memory.space(), Layout::ANYWHERE, PAGE_SIZE, |_| Ok(ring))?;
    drop(layout);
    let added = memory.contexts.add(number, count);
    let told = added.and_then(|()| put_words(&mut call.token, target, [number as u64]));
    if let Err(errno) = told {
        let _not_added = destroy(call, number);
        return Err(errno);
    }
    Ok(0)
}

fn destroy(call: &Call<'_>, number: usize) -> Result<(), Errno> {
    let memory = call.process.memory()?;
    let removed = memory.contexts.remove(number);
    let _layout = memory.layout.lock();
    AddressSpace::unmap(memory.space(), number, PAGE_SIZE)?;
    removed
}

pub(super) fn io_destroy(call: &mut Call<'_>) -> Outcome {
    let number = call.args[0];
    context(call, number)?;
    destroy(call, number)?;
    Ok(0)
}

pub(super) fn io_submit(call: &mut Call<'_>) -> Outcome {
    let [number, count, requests, ..] = call.args;
    let context = context(call, number)?;
    let count = usize::try_from(count as isize).map_err(|_| Errno::INVAL)?.min(context.room());
    for submitted in 0..count {
        let [request] = match get_words(&mut call.token, requests + 8 * submitted) {
            Ok(words) => words,
            Err(errno) if submitted == 0 => return Err(errno),
            Err(_) => return Ok(submitted),
        };
        match submit(call, &context, request as usize) {
            Err(errno) if submitted == 0 => return Err(errno),
            Err(_) => return Ok(submitted),
            Ok(()) => {}
        }
    }
    Ok(count)
}

/// What a request is to do.
#[derive(Clone, Copy)]
enum Operation {
    Read(Form),
    Write(Form),
    Sync(SyncKind),
}

/// How a request names its bytes.
#[derive(Clone, Copy)]
enum Form {
    Buffer,
    Vector,
}

impl Operation {
    /// The operation of a number of `<linux/aio_abi.h>`.
    ///
    /// # Errors
    /// `EINVAL`: there is none.
    const fn from_raw(number: u16) -> Result<Self, Errno> {
        Ok(match number {
            0 => Self::Read(Form::Buffer),
            1 => Self::Write(Form::Buffer),
            2 => Self::Sync(SyncKind::All),
            3 => Self::Sync(SyncKind::Data),
            7 => Self::Read(Form::Vector),
            8 => Self::Write(Form::Vector),
            _ => return Err(Errno::INVAL),
        })
    }
}

/// A `struct iocb`.
struct Request {
    data: u64,
    operation: Operation,
    file: OpenFile,
    buffer: usize,
    len: usize,
    offset: i64,
    flags: u32,
    /// The counter that is told of the end.
    tells: Option<OpenFile>,
}

impl Request {
    /// Reads what a program submits.
    ///
    /// # Errors
    /// `EFAULT`; `EINVAL`: it makes no sense; `EBADF`.
    fn get(call: &mut Call<'_>, at: usize) -> Result<Self, Errno> {
        const TELLS: u32 = 1;
        let [data, key, kind, buffer, len, offset, reserved, flags] =
            get_words(&mut call.token, at)?;
        if reserved != 0 || len > isize::MAX as u64 {
            return Err(Errno::INVAL);
        }
        let file = call.process.file((kind >> 32) as usize)?;
        let tells = if flags as u32 & TELLS == 0 {
            None
        } else {
            let counter = call.process.file((flags >> 32) as usize)?;
            Some(files::is_counter(&counter).then_some(counter).ok_or(Errno::INVAL)?)
        };
        // The key that `io_cancel` asks for.
        put(&mut call.token, at + 8, &0_u32.to_ne_bytes())?;
        Ok(Self {
            data,
            operation: Operation::from_raw(kind as u16)?,
            file,
            buffer: buffer as usize,
            len: len as usize,
            offset: offset as i64,
            flags: (key >> 32) as u32,
            tells,
        })
    }

    /// Checks what Linux refuses before the request begins.
    ///
    /// # Errors
    /// `EINVAL`, `EBADF`, `EOPNOTSUPP`.
    fn check(&self) -> Result<(), Errno> {
        match self.operation {
            Operation::Read(_) => need(&self.file, linux::O_WRONLY)?,
            Operation::Write(_) => need(&self.file, linux::O_RDONLY)?,
            Operation::Sync(_) => {
                let asks = self.buffer != 0 || self.len != 0 || self.offset != 0 || self.flags != 0;
                let refused = asks || self.file.regular().is_none();
                return if refused { Err(Errno::INVAL) } else { Ok(()) };
            }
        }
        RwFlags::from_raw(self.flags)?;
        if self.offset < 0 || self.file.directory().is_some() { Err(Errno::INVAL) } else { Ok(()) }
    }

    /// Reads. A file without positions does without.
    fn read(&self, token: &mut MayFault, to: &mut UserBytes<'_>) -> Outcome {
        match self.file.read_at(token, to, self.offset as u64) {
            Err(Errno::SPIPE) => self.file.read(token, to),
            outcome => outcome,
        }
    }

    /// Writes, as [`read`](Self::read) reads.
    fn write(&self, token: &mut MayFault, from: &mut UserBytes<'_>) -> Outcome {
        let position = self.offset as u64;
        if let Some(file) = self.file.regular() {
            let flags = RwFlags::from_raw(self.flags)?;
            return file.write(token, from, Some(position), flags);
        }
        match self.file.write_at(token, from, position) {
            Err(Errno::SPIPE) => self.file.write(token, from),
            outcome => outcome,
        }
    }

    /// Carries the request out.
    fn outcome(&self, token: &mut MayFault) -> Outcome {
        let (at, len) = (self.buffer, self.len);
        match self.operation {
            Operation::Read(Form::Buffer) => {
                with_buffer(token, at, len, |to, token| self.read(token, to))
            }
            Operation::Read(Form::Vector) => {
                with_vector(token, at, len, |to, token| self.read(token, to))
            }
            Operation::Write(Form::Buffer) => {
                with_buffer(token, at, len, |from, token| self.write(token, from))
            }
            Operation::Write(Form::Vector) => {
                with_vector(token, at, len, |from, token| self.write(token, from))
            }
            Operation::Sync(kind) => sync_file(&self.file, token, kind),
        }
    }
}

fn submit(call: &mut Call<'_>, context: &Context, at: usize) -> Result<(), Errno> {
    context.hold()?;
    let request = Request::get(call, at).and_then(|request| request.check().map(|()| request));
    let request = match request {
        Ok(request) => request,
        Err(errno) => {
            context.let_go();
            return Err(errno);
        }
    };
    let outcome = request.outcome(&mut call.token);
    let event: Event = [request.data, at as u64, Errno::to_raw(outcome) as u64, 0];
    context.end(event);
    if let Some(counter) = &request.tells {
        files::count_one(counter);
    }
    Ok(())
}

pub(super) fn io_cancel(call: &mut Call<'_>) -> Outcome {
    let [number, request, ..] = call.args;
    get_words::<2>(&mut call.token, request)?;
    context(call, number)?;
    // It has ended already.
    Err(Errno::INVAL)
}

pub(super) fn io_getevents(call: &mut Call<'_>) -> Outcome {
    let until = until(call)?;
    fetch(call, until)
}

pub(super) fn io_pgetevents(call: &mut Call<'_>) -> Outcome {
    let until = until(call)?;
    let signals = call.args[5];
    if signals != 0 {
        let [at, size] = get_words(&mut call.token, signals)?;
        mask(call, at as usize, size as usize)?;
    }
    fetch(call, until)
}

/// When the wait for events is over.
fn until(call: &mut Call<'_>) -> Result<Option<u64>, Errno> {
    match call.args[4] {
        0 => Ok(None),
        at => Ok(Some(clock::monotonic().saturating_add(timespec(call, at)?))),
    }
}

fn fetch(call: &mut Call<'_>, until: Option<u64>) -> Outcome {
    let [number, least, most, target, ..] = call.args;
    let context = context(call, number)?;
    let (least, most) = (least as isize, most as isize);
    if least < 0 || least > most {
        return Err(Errno::INVAL);
    }
    let mut found = context.has(least as usize);
    if found == Ok(false) {
        let waited = wait_until(key_of(&*context), until, &mut || {
            found = context.has(least as usize);
            found != Ok(false)
        });
        match waited {
            Err(Errno::INTR) if context.has(1) == Ok(false) => return Err(Errno::INTR),
            _ => {}
        }
    }
    found?;
    let events = context.fetch(most as usize);
    for (number, event) in events.iter().enumerate() {
        put_words(&mut call.token, target + size_of::<Event>() * number, *event)?;
    }
    Ok(events.len())
}
