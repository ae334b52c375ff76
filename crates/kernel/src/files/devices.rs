//! Devices: what is open when a node is opened that has the number of one.
#![forbid(unsafe_code)]

use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;

use alloc::sync::Arc;

use faultless::prelude::MayFault;
use faultless_posix::{Errno, Kind};
use linux_raw_sys::general as linux;

use crate::files::console::Console;
use crate::files::file::{File, OpenFile};
use crate::files::nodes::{Attributes, stream_attributes};
use crate::memory::{UserBytes, copy_out};

/// `/dev/zero`, which can be mapped.
pub(crate) const ZERO: u64 = number(1, 5);

/// What is open then, by the flags of `open`.
type Opens = fn(u32) -> OpenFile;

/// The devices: path, number (`st_rdev`), and what is open then.
const DEVICES: [(&[u8], u64, Opens); 7] = [
    (b"/dev/null", number(1, 3), |flags| Arc::new(Memory::new(What::Null, flags))),
    (b"/dev/zero", ZERO, |flags| Arc::new(Memory::new(What::Zero, flags))),
    (b"/dev/full", number(1, 7), |flags| Arc::new(Memory::new(What::Full, flags))),
    (b"/dev/random", number(1, 8), |flags| Arc::new(Memory::new(What::Random, flags))),
    (b"/dev/urandom", number(1, 9), |flags| Arc::new(Memory::new(What::Random, flags))),
    (b"/dev/tty", number(5, 0), |flags| Arc::new(Console::new(flags))),
    (b"/dev/console", number(5, 1), |flags| Arc::new(Console::new(flags))),
];

/// `makedev`, for numbers below 256.
const fn number(major: u64, minor: u64) -> u64 {
    major << 8 | minor
}

/// The paths of the devices, with their numbers.
pub(super) fn nodes() -> impl Iterator<Item = (&'static [u8], u64)> {
    DEVICES.iter().map(|(path, number, _)| (*path, *number))
}

/// Opens the device of a number.
///
/// # Errors
/// `ENXIO`: there is none.
pub(super) fn open(device: u64, flags: u32) -> Result<OpenFile, Errno> {
    let found = DEVICES.iter().find(|(_, number, _)| *number == device);
    found.map(|(_, _, opens)| opens(flags)).ok_or(Errno::NXIO)
}

/// Devices that are no hardware.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Null,
    Zero,
    Full,
    Random,
}

#[derive(Debug)]
struct Memory {
    what: What,
    flags: AtomicU32,
}

impl Memory {
    const fn new(what: What, flags: u32) -> Self {
        Self { what, flags: AtomicU32::new(flags) }
    }
}

/// Bytes that are copied at a time.
const PIECE: usize = 256;

impl File for Memory {
    fn read(&self, token: &mut MayFault, to: &mut UserBytes<'_>) -> Result<usize, Errno> {
        let asked = to.count();
        match self.what {
            What::Null => return Ok(0),
            What::Zero | What::Full => {
                to.clear(token, asked);
            }
            What::Random => {
                while to.count() > 0 {
                    let bytes = random_bytes::<PIECE>();
                    let len = PIECE.min(to.count());
                    if copy_out(to, token, &bytes[..len]) < len {
                        break;
                    }
                }
            }
        }
        let done = asked - to.count();
        if done == 0 && asked > 0 { Err(Errno::FAULT) } else { Ok(done) }
    }

    fn write(&self, _token: &mut MayFault, from: &mut UserBytes<'_>) -> Result<usize, Errno> {
        if self.what == What::Full { Err(Errno::NOSPC) } else { Ok(from.count()) }
    }

    fn put(&self, bytes: &[u8]) -> Result<usize, Errno> {
        match self.what {
            What::Null | What::Zero => Ok(bytes.len()),
            What::Full | What::Random => Err(Errno::INVAL),
        }
    }

    fn take(&self, bytes: &mut [u8]) -> Result<usize, Errno> {
        match self.what {
            What::Null => return Err(Errno::INVAL),
            What::Zero | What::Full => bytes.fill(0),
            What::Random => {
                for piece in bytes.chunks_mut(PIECE) {
                    piece.copy_from_slice(&random_bytes::<PIECE>()[..piece.len()]);
                }
            }
        }
        Ok(bytes.len())
    }

    /// A position means nothing to it, but may be named.
    fn seek(&self, _token: &mut MayFault, _offset: i64, _whence: u32) -> Result<u64, Errno> {
        Ok(0)
    }

    fn read_at(
        &self,
        token: &mut MayFault,
        to: &mut UserBytes<'_>,
        _position: u64,
    ) -> Result<usize, Errno> {
        self.read(token, to)
    }

    fn write_at(
        &self,
        token: &mut MayFault,
        from: &mut UserBytes<'_>,
        _position: u64,
    ) -> Result<usize, Errno> {
        self.write(token, from)
    }

    fn attributes(&self) -> Result<Attributes, Errno> {
        let minor = match self.what {
            What::Null => 3,
            What::Zero => 5,
            What::Full => 7,
            What::Random => 9,
        };
        Ok(stream_attributes(Kind::Characters, number(1, minor)))
    }

    fn flags(&self) -> u32 {
        self.flags.load(Relaxed)
    }

    fn set_flags(&self, flags: u32) {
        let mode = self.flags() & linux::O_ACCMODE;
        self.flags.store(flags & !linux::O_ACCMODE | mode, Relaxed);
    }
}

/// Random bytes, of the CPU's generator.
pub(crate) fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let generator = x86_64::instructions::random::RdRand::new();
    for piece in bytes.chunks_mut(8) {
        let word = generator.and_then(|generator| generator.get_u64());
        let word = word.unwrap_or_else(crate::arch::clock::monotonic).to_ne_bytes();
        piece.copy_from_slice(&word[..piece.len()]);
    }
    bytes
}
