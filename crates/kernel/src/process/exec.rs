//! `execve`: another program in a process, with a new address space and stack.

use core::sync::atomic::Ordering::{Relaxed, Release};

use alloc::boxed::Box;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;

use faultless::prelude::{MayFault, PAGE_SIZE, UserAddr, UserMemory};
use faultless_posix::{Descriptors, Errno, OnExec, Rights};
use linux_raw_sys::auxvec;

use crate::arch::trap::TrapFrame;
use crate::boot::options::{Checking, Options, options};
use crate::calls::all_closed;
use crate::files::{self, Directory, Use};
use crate::limits::{FIRST_FILES, STACK};
use crate::memory::{AddressSpace, Open, anonymous_request, new_space, put, user_memory};
use crate::process::image::{Image, Tail, read_at};
use crate::process::layout::{Layout, STACK_END};
use crate::process::open_files::{OpenFiles, Place};
use crate::process::space::replace_memory;
use crate::process::state::{Memory, Process, Words, current};
use crate::process::{exit, signals, timers};
use crate::sched;
use crate::selftest::{self, locks};
use crate::sequences;
use crate::waits::key_of;

/// Where programs and their loaders are put that run at any address.
const PROGRAM_BASE: usize = 0x5555_5555_4000;
const LOADER_BASE: usize = 0x7fff_c000_0000;

/// Bytes of arguments and environment together, at most (`ARG_MAX`).
pub(crate) const MAX_TEXT: usize = STACK / 4;

/// Bytes of a word that its text has not: its 0, and the address in the table.
pub(crate) const WORD: usize = 9;

/// How often a script may name another one for its interpreter.
const MAX_SCRIPTS: usize = 4;

/// The flags of `#!`, and the longest such line.
const SCRIPT: &[u8] = b"#!";
const SCRIPT_LINE: usize = 256;

/// Starts the first process with the program that the options name.
///
/// # Errors
/// Those of `execve`.
pub(crate) fn start_first(options: &Options) -> Result<(), Errno> {
    let path = options.words.first().ok_or(Errno::NOENT)?.clone();
    let cwd = files::first_directory(&options.cwd)?;
    let mut descriptors = Descriptors::new(FIRST_FILES);
    let console = files::console();
    for _standard in 0..3 {
        descriptors.add(0, Arc::clone(&console), OnExec::Keep)?;
    }
    let number = sched::next_number();
    let files = Arc::new(OpenFiles::new(number, descriptors));
    let process = Process::new(number, Weak::new(), None, files, Arc::new(Place::new(cwd, 0o022)));
    let process = Arc::new(process);
    exit::set_first(&process);
    files::set_foreground(number);
    let words = Words {
        arguments: options.words.clone(),
        environment: options.environment.clone(),
        ..Words::default()
    };
    // The thread begins in the kernel, and goes on in user mode with the frame of the program.
    let main = move || {
        // SAFETY: a new thread holds no lock.
        let mut token = unsafe { MayFault::assert() };
        if let Err(why) = try_out(&mut token) {
            crate::arch::serial::say!("kernel: selftest: {why}");
            exit::exit_group(127 << 8)
        }
        let mut frame = TrapFrame::user(0, 0);
        match execute(&mut token, &mut frame, &path, words) {
            Ok(()) => crate::arch::switch::enter_user(&frame),
            Err(why) => {
                crate::arch::serial::say!("kernel: the first program: {why}");
                exit::exit_group(127 << 8)
            }
        }
    };
    let thread = process.new_thread(number, TrapFrame::user(0, 0), Some(Box::new(main)))?;
    process.add_thread(&thread);
    sched::start(thread);
    Ok(())
}

/// What the command line asks for before the first program, in an address space for that.
fn try_out(token: &mut MayFault) -> Result<(), Errno> {
    if options().locks == Checking::On {
        locks::turn_on();
    }
    if options().selftest.is_none() {
        return Ok(());
    }
    let process = current().ok_or(Errno::SRCH)?;
    let memory = Memory::new(new_space()?, Layout::new(0), None);
    replace_memory(&process, &memory);
    selftest::run(token, memory.space())
}

/// `execve` in the current process: afterwards `frame` is the new program's.
///
/// # Errors
/// `ENOEXEC`, `ENOENT`, `EACCES`, `E2BIG`, `ENOMEM`; the old program goes on. Once that is not
/// possible any more, the process is killed instead.
pub(crate) fn execute(
    token: &mut MayFault,
    frame: &mut TrapFrame,
    path: &[u8],
    words: Words,
) -> Result<(), Errno> {
    let process = current().ok_or(Errno::NOENT)?;
    let cwd = process.cwd();
    let Program { file, running, path: executable, words } =
        find_program(token, &cwd, path, words)?;
    let text: usize =
        words.arguments.iter().chain(&words.environment).map(|word| word.len() + WORD).sum();
    if text > MAX_TEXT {
        return Err(Errno::TOOBIG);
    }
    let image = Image::read(token, file, PROGRAM_BASE)?;
    let loader = match image.interpreter(token)? {
        Some(path) => {
            let (file, _running) = files::open_program(&cwd, &path)?;
            Some(Image::read(token, file, LOADER_BASE)?)
        }
        None => None,
    };
    let space = new_space()?;
    // Owns the mappings from here on: an error drops them.
    let running = Some(Arc::new(running));
    let memory = Memory::new(Arc::clone(&space), Layout::new(image.end()), running);
    let mut tails = image.map(&space)?;
    if let Some(loader) = &loader {
        tails.extend(loader.map(&space)?);
    }
    let rights = Rights::READ | Rights::WRITE;
    AddressSpace::map(
        &space,
        STACK_END - STACK,
        anonymous_request(STACK_END - STACK, STACK, rights),
    )?;

    exit::end_other_threads(&process)?;
    replace_memory(&process, &memory);
    process.has_executed.store(true, Relaxed);
    // Its parent hears of its end as of any other's.
    process.end_signal.store(linux_raw_sys::general::SIGCHLD, Relaxed);
    *process.executable.lock() = executable;
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    *process.name.lock() = name.to_vec();
    *process.words.lock() = words.clone();
    unshare_files(&process);
    let files = process.files();
    let closed = files.lock().remove_if(|_, on_exec| on_exec == OnExec::Close);
    all_closed(files.owner, closed);
    timers::delete_made(&process);
    signals::reset_for_exec(&process);
    let begun = begin(token, &image, loader.as_ref(), &tails, &words, path);
    process.released.store(true, Release);
    crate::waits::wake(key_of(&process.released));
    match begun {
        Ok((stack, auxiliary)) => {
            process.words.lock().auxiliary = auxiliary;
            let entry = loader.as_ref().map_or_else(|| image.entry(), Image::entry);
            *frame = TrapFrame::user(entry, stack);
            Ok(())
        }
        // Nothing is left to go back to.
        Err(why) => {
            process.begin_exit(linux_raw_sys::general::SIGKILL);
            Err(why)
        }
    }
}

/// Gives a process a copy of descriptors that it shares (`execve`, `CLONE_FILES` of `unshare`).
pub(crate) fn unshare_files(process: &Process) {
    let shared = process.files();
    if shared.is_shared() {
        let left = process.files.replace(shared.copy(process.number)).leave();
        all_closed(shared.owner, left);
    }
}

/// A program that was found.
struct Program {
    file: Open,
    running: Use,
    /// From the root; of the program itself, if a script was named.
    path: Vec<u8>,
    words: Words,
}

/// The file of a program, through the scripts that name it.
fn find_program(
    token: &mut MayFault,
    cwd: &Directory,
    path: &[u8],
    mut words: Words,
) -> Result<Program, Errno> {
    let mut path = path.to_vec();
    for _ in 0..MAX_SCRIPTS {
        let (file, running) = files::open_program(cwd, &path)?;
        let mut line = [0; SCRIPT_LINE];
        let len = read_at(token, &file, 0, &mut line)?;
        let Some(line) = line[..len].strip_prefix(SCRIPT) else {
            return Ok(Program { file, running, path: files::program_path(cwd, &path), words });
        };
        let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default().trim_ascii();
        let mut parts = line.splitn(2, |byte| *byte == b' ' || *byte == b'\t');
        let interpreter = parts.next().filter(|part| !part.is_empty()).ok_or(Errno::NOEXEC)?;
        let argument = parts.next().map(|part| part.trim_ascii().to_vec());
        let mut arguments = alloc::vec![interpreter.to_vec()];
        arguments.extend(argument);
        arguments.push(path);
        arguments.extend(words.arguments.into_iter().skip(1));
        words.arguments = arguments;
        path = interpreter.to_vec();
    }
    Err(Errno::LOOP)
}

/// Fills in what the file does not have: zeros behind its data, and the stack; where the stack
/// pointer is, and the auxiliary vector.
fn begin(
    token: &mut MayFault,
    image: &Image,
    loader: Option<&Image>,
    tails: &[Tail],
    words: &Words,
    path: &[u8],
) -> Result<(usize, Vec<u8>), Errno> {
    for tail in tails {
        // SAFETY: addresses of the program's.
        let left =
            unsafe { user_memory().raw_clear_user(token, UserAddr::new(tail.start), tail.len()) };
        if left > 0 {
            return Err(Errno::FAULT);
        }
    }
    let mut stack = StackWriter { token, at: STACK_END - 8 };
    let name = stack.text(path)?;
    let platform = stack.text(b"x86_64")?;
    let random = stack.bytes(&crate::files::random_bytes::<16>())?;
    let environment = stack.texts(&words.environment)?;
    let arguments = stack.texts(&words.arguments)?;
    let (headers, count) = image.headers();
    let auxiliary = [
        (auxvec::AT_PHDR, headers),
        (auxvec::AT_PHENT, 56),
        (auxvec::AT_PHNUM, count),
        (auxvec::AT_PAGESZ, PAGE_SIZE),
        (auxvec::AT_BASE, loader.map_or(0, Image::base)),
        (auxvec::AT_FLAGS, 0),
        (auxvec::AT_ENTRY, image.entry()),
        (auxvec::AT_UID, 0),
        (auxvec::AT_EUID, 0),
        (auxvec::AT_GID, 0),
        (auxvec::AT_EGID, 0),
        (auxvec::AT_SECURE, 0),
        (auxvec::AT_CLKTCK, 100),
        (auxvec::AT_RANDOM, random),
        (auxvec::AT_EXECFN, name),
        (auxvec::AT_PLATFORM, platform),
        (auxvec::AT_HWCAP, 0),
        (auxvec::AT_RSEQ_FEATURE_SIZE, sequences::USED),
        (auxvec::AT_RSEQ_ALIGN, sequences::ALIGNMENT),
        (auxvec::AT_NULL, 0),
    ];
    let mut table = alloc::vec![words.arguments.len()];
    table.extend(arguments);
    table.push(0);
    table.extend(environment);
    table.push(0);
    let auxiliary_at = table.len();
    table.extend(auxiliary.iter().flat_map(|(kind, value)| [*kind as usize, *value]));
    let start = (stack.at - size_of::<usize>() * table.len()) & !15;
    let bytes = |words: &[usize]| words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let all: Vec<u8> = bytes(&table);
    put(stack.token, start, &all)?;
    Ok((start, bytes(&table[auxiliary_at..])))
}

/// Puts things on a new stack, downwards.
struct StackWriter<'t> {
    token: &'t mut MayFault,
    at: usize,
}

impl StackWriter<'_> {
    /// Bytes; where they are.
    fn bytes(&mut self, bytes: &[u8]) -> Result<usize, Errno> {
        self.at -= bytes.len();
        put(self.token, self.at, bytes)?;
        Ok(self.at)
    }

    /// A text with its 0.
    fn text(&mut self, text: &[u8]) -> Result<usize, Errno> {
        self.at -= 1;
        put(self.token, self.at, &[0])?;
        self.bytes(text)
    }

    fn texts(&mut self, texts: &[Vec<u8>]) -> Result<Vec<usize>, Errno> {
        texts.iter().map(|text| self.text(text)).collect()
    }
}
