//! A system call of the program: its arguments, its memory, and what becomes of it.
#![forbid(unsafe_code)]

use core::ffi::c_int;

use alloc::vec;
use alloc::vec::Vec;

use faultless::prelude::{
    IovIter, MayFault, UserAddr, UserSlice, copy_from_user, copy_to_user, import_iovec,
};
use faultless::usercopy::{MAX_RW_COUNT, MAX_SEGMENTS};
use faultless_posix::Errno;
use libc::ucontext_t;

use crate::counters::{add, counters};
use crate::kernel::OpenFile;
use crate::memory::ProgramMemory;
use crate::process::Process;
use crate::thread::Thread;

/// What became of a system call.
pub(crate) enum Outcome {
    /// It is done: what it returns.
    Done(isize),
    /// Linux makes it.
    Pass,
    /// Registers were set to go on with.
    Resume,
}

impl Outcome {
    /// The call has failed.
    pub(crate) const fn failed(errno: Errno) -> Self {
        Self::Done(-(errno.code() as isize))
    }
}

/// A system call that a program makes.
pub(crate) struct Call<'a> {
    pub(crate) number: usize,
    pub(crate) args: [usize; 6],
    /// The arguments as the program gave them.
    pub(crate) asked: [usize; 6],
    pub(crate) thread: &'static Thread,
    pub(crate) process: &'static Process,
    pub(crate) context: &'a mut ucontext_t,
    pub(crate) memory: ProgramMemory,
    pub(crate) token: MayFault,
}

/// The registers with arguments, in order.
pub(crate) const ARGUMENTS: [c_int; 6] =
    [libc::REG_RDI, libc::REG_RSI, libc::REG_RDX, libc::REG_R10, libc::REG_R8, libc::REG_R9];

impl Call<'_> {
    /// A register of the program.
    pub(crate) fn register(&mut self, which: c_int) -> &mut i64 {
        register(self.context, which)
    }

    /// Whether Linux could meet pages of files that are not there.
    pub(crate) fn maps_files(&self) -> bool {
        self.process.space.has_mapping_in(0..usize::MAX)
    }

    /// Changes an argument that Linux is given.
    pub(crate) fn set_argument(&mut self, number: usize, value: usize) {
        self.args[number] = value;
        *self.register(ARGUMENTS[number]) = value as i64;
    }
}

/// A register of the program.
pub(crate) fn register(context: &mut ucontext_t, which: c_int) -> &mut i64 {
    &mut context.uc_mcontext.gregs[which as usize]
}

/// The open file of an argument, if it is one of the folder.
pub(crate) fn file(call: &Call<'_>, argument: usize) -> Option<OpenFile> {
    // A descriptor is an `int`.
    call.process.file(call.args[argument] as u32 as usize)
}

/// Bytes of the program's memory.
///
/// # Errors
/// `EFAULT`: not all of them can be read.
pub(crate) fn get(call: &mut Call<'_>, at: usize, bytes: &mut [u8]) -> Result<(), Errno> {
    let slice = UserSlice::new(&call.memory, UserAddr::new(at), bytes.len())?;
    Ok(copy_from_user(&call.memory, &mut call.token, bytes, slice)?)
}

/// Words of the program's memory.
///
/// # Errors
/// As [`get`].
pub(crate) fn get_words<const N: usize>(call: &mut Call<'_>, at: usize) -> Result<[u64; N], Errno> {
    let mut words = [[0; 8]; N];
    get(call, at, words.as_flattened_mut())?;
    Ok(words.map(u64::from_ne_bytes))
}

/// Changes bytes of the program's memory.
///
/// # Errors
/// `EFAULT`: not all of them could be written.
pub(crate) fn put(call: &mut Call<'_>, at: usize, bytes: &[u8]) -> Result<(), Errno> {
    let slice = UserSlice::new(&call.memory, UserAddr::new(at), bytes.len())?;
    Ok(copy_to_user(&call.memory, &mut call.token, slice, bytes)?)
}

/// Changes words of the program's memory.
///
/// # Errors
/// As [`put`].
pub(crate) fn put_words<const N: usize>(
    call: &mut Call<'_>,
    at: usize,
    words: [u64; N],
) -> Result<(), Errno> {
    put(call, at, words.map(u64::to_ne_bytes).as_flattened())
}

/// A path in the program's memory, with its NUL.
///
/// # Errors
/// `EFAULT`; `INVAL` for one that is too long to be a path.
pub(crate) fn get_path(call: &mut Call<'_>, at: usize) -> Result<Vec<u8>, Errno> {
    get_string(call, at, libc::PATH_MAX as usize)
}

/// A string of the program's memory, with its NUL.
///
/// # Errors
/// `EFAULT`; `INVAL` for one that is longer than `most` by a piece.
pub(crate) fn get_string(call: &mut Call<'_>, at: usize, most: usize) -> Result<Vec<u8>, Errno> {
    let mut path = Vec::new();
    let mut at = at;
    while path.len() < most {
        // Up to the end of a page: what follows the string may not be there.
        let mut piece = [0; 256];
        let length = piece.len() - at % piece.len();
        let piece = &mut piece[..length];
        get(call, at, piece)?;
        at += piece.len();
        if let Some(end) = piece.iter().position(|byte| *byte == 0) {
            path.extend_from_slice(&piece[..=end]);
            return Ok(path);
        }
        path.extend_from_slice(piece);
    }
    Err(Errno::INVAL)
}

/// A call on a file is done.
pub(crate) fn done(result: Result<usize, Errno>) -> Outcome {
    done_raw(Errno::to_raw(result))
}

/// A call on a file is done: it returns `result`, as Linux's do.
pub(crate) fn done_raw(result: isize) -> Outcome {
    add(&counters().calls, 1);
    Outcome::Done(result)
}

/// A call has read or written so many bytes.
pub(crate) fn moved(result: Result<usize, Errno>) -> Outcome {
    add(&counters().bytes, result.map_or(0, |bytes| bytes as u64));
    done(result)
}

/// Calls `body` with the segments of a vector of the program's.
pub(crate) fn with_vector<R>(
    call: &mut Call<'_>,
    vector: usize,
    count: usize,
    body: impl FnOnce(&mut IovIter<'_, ProgramMemory>, &mut MayFault) -> Result<R, Errno>,
) -> Result<R, Errno> {
    let mut segments = vec![UserSlice::EMPTY; count.min(MAX_SEGMENTS)];
    let Call { memory, token, .. } = call;
    let mut bytes = import_iovec(&*memory, token, UserAddr::new(vector), count, &mut segments)?;
    body(&mut bytes, token)
}

/// Calls `body` with a buffer of the program's. Lengths are clipped as Linux clips them.
pub(crate) fn with_buffer<R>(
    call: &mut Call<'_>,
    buffer: usize,
    length: usize,
    body: impl FnOnce(&mut IovIter<'_, ProgramMemory>, &mut MayFault) -> Result<R, Errno>,
) -> Result<R, Errno> {
    if isize::try_from(length).is_err() {
        return Err(Errno::INVAL);
    }
    let length = length.min(MAX_RW_COUNT);
    let Call { memory, token, .. } = call;
    let slice = UserSlice::new(&*memory, UserAddr::new(buffer), length)?;
    let mut bytes = IovIter::from_slice(&*memory, &slice);
    body(&mut bytes, token)
}

/// The error of a call that has failed: Linux returns the negative number.
pub(crate) fn linux_errno(result: isize) -> Errno {
    i32::try_from(result).map_or(Errno::IO, Errno::from_code)
}
