//! A program's file: its header, and how it is mapped.
#![forbid(unsafe_code)]

use core::ops::Range;

use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use elf::abi::{
    EI_NIDENT, EM_X86_64, ET_DYN, ET_EXEC, PF_R, PF_W, PF_X, PT_INTERP, PT_LOAD, PT_PHDR,
};
use elf::endian::LittleEndian;
use elf::file::{Class, FileHeader, parse_ident};
use elf::segment::{ProgramHeader, SegmentTable};
use faultless::prelude::{IovIter, KernelMemory, MayFault, PAGE_SIZE};
use faultless_posix::{Errno, MapRequest, Rights, Sharing};

use crate::memory::{AddressSpace, Machine, Open, Space, USER_END, anonymous_request};
use crate::task::Running;

/// Bytes of the headers of 64-bit files.
const FILE_HEADER: usize = 64;
const PROGRAM_HEADER: usize = 56;

/// Program headers of a file, at most.
const MAX_HEADERS: u16 = 128;

/// Bytes of the path of an interpreter, at most.
const MAX_PATH: u64 = 4096;

/// A program as its file describes it.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) file: Open,
    header: FileHeader<LittleEndian>,
    segments: Vec<ProgramHeader>,
    /// What is added to all its addresses.
    base: usize,
}

/// Bytes of memory that become zeros, in a page that also shows the file.
pub(super) type Tail = Range<usize>;

impl Image {
    /// Reads the headers of a file. A program that runs at any address is put at `base`.
    ///
    /// # Errors
    /// `ENOEXEC`: it is no program for this machine.
    pub(super) fn read(token: &mut MayFault, file: Open, base: usize) -> Result<Self, Errno> {
        let mut bytes = [0; FILE_HEADER];
        if read_at(token, &file, 0, &mut bytes)? < bytes.len() {
            return Err(Errno::NOEXEC);
        }
        let ident = parse_ident::<LittleEndian>(&bytes[..EI_NIDENT]);
        let header = ident
            .and_then(|ident| FileHeader::parse_tail(ident, &bytes[EI_NIDENT..]))
            .map_err(|_| Errno::NOEXEC)?;
        let known = header.class == Class::ELF64
            && header.e_machine == EM_X86_64
            && [ET_EXEC, ET_DYN].contains(&header.e_type)
            && usize::from(header.e_phentsize) == PROGRAM_HEADER
            && (1..=MAX_HEADERS).contains(&header.e_phnum);
        if !known {
            return Err(Errno::NOEXEC);
        }
        let mut bytes = vec![0; PROGRAM_HEADER * usize::from(header.e_phnum)];
        if read_at(token, &file, header.e_phoff, &mut bytes)? < bytes.len() {
            return Err(Errno::NOEXEC);
        }
        let segments = SegmentTable::new(LittleEndian, Class::ELF64, &bytes).iter().collect();
        let base = if header.e_type == ET_DYN { base } else { 0 };
        let image = Self { file, header, segments, base };
        // The CPU refuses to go to other addresses, with a fault in the kernel.
        if image.entry() < USER_END { Ok(image) } else { Err(Errno::NOEXEC) }
    }

    /// The path of the program that has to load this one.
    ///
    /// # Errors
    /// `ENOEXEC` for one that cannot be.
    pub(super) fn interpreter(&self, token: &mut MayFault) -> Result<Option<Vec<u8>>, Errno> {
        let Some(segment) = self.segments.iter().find(|segment| segment.p_type == PT_INTERP) else {
            return Ok(None);
        };
        if segment.p_filesz > MAX_PATH {
            return Err(Errno::NOEXEC);
        }
        let mut path = vec![0; segment.p_filesz as usize];
        if read_at(token, &self.file, segment.p_offset, &mut path)? < path.len() {
            return Err(Errno::NOEXEC);
        }
        let len = path.iter().position(|byte| *byte == 0).ok_or(Errno::NOEXEC)?;
        path.truncate(len);
        Ok(Some(path))
    }

    fn loaded(&self) -> impl Iterator<Item = &ProgramHeader> {
        self.segments.iter().filter(|segment| segment.p_type == PT_LOAD)
    }

    /// Maps the segments; which bytes have to become zeros.
    ///
    /// # Errors
    /// `ENOEXEC` for segments that cannot be; those of `mmap`.
    pub(super) fn map(&self, space: &Space) -> Result<Vec<Tail>, Errno> {
        let mut tails = Vec::new();
        for segment in self.loaded() {
            tails.extend(self.map_segment(space, segment)?);
        }
        Ok(tails)
    }

    fn map_segment(&self, space: &Space, segment: &ProgramHeader) -> Result<Option<Tail>, Errno> {
        let rights = rights(segment);
        let at = |offset: u64| {
            let address = (self.base as u64).checked_add(segment.p_vaddr)?.checked_add(offset)?;
            usize::try_from(address).ok().filter(|address| *address <= USER_END)
        };
        let start = at(0).ok_or(Errno::NOEXEC)?;
        let file_end = at(segment.p_filesz).ok_or(Errno::NOEXEC)?;
        let end = at(segment.p_memsz).filter(|end| *end >= file_end).ok_or(Errno::NOEXEC)?;
        let within = start % PAGE_SIZE;
        if segment.p_offset as usize % PAGE_SIZE != within {
            return Err(Errno::NOEXEC);
        }
        let mut mapped = start - within;
        if segment.p_filesz > 0 {
            let len = file_end - mapped;
            let request = MapRequest::<Machine> {
                description: Arc::clone(&self.file),
                offset: segment.p_offset - within as u64,
                len,
                rights,
                sharing: Sharing::Private,
            };
            AddressSpace::map(space, mapped, request)?;
            mapped += len.next_multiple_of(PAGE_SIZE);
        }
        if end > mapped {
            let len = (end - mapped).next_multiple_of(PAGE_SIZE);
            AddressSpace::map(space, mapped, anonymous_request(mapped, len, rights))?;
        }
        // Up to the end of the page: a loader takes what is behind its data for memory of zeros.
        let file_pages = file_end.next_multiple_of(PAGE_SIZE);
        let has_tail = segment.p_filesz > 0 && end > file_end && rights.contains(Rights::WRITE);
        Ok(has_tail.then_some(file_end..file_pages))
    }

    /// Where it begins.
    pub(super) const fn entry(&self) -> usize {
        self.base.wrapping_add(self.header.e_entry as usize)
    }

    /// What is added to its addresses.
    pub(super) const fn base(&self) -> usize {
        self.base
    }

    /// Where its program headers are in memory, and how many they are.
    pub(super) fn headers(&self) -> (usize, usize) {
        let told = self.segments.iter().find(|segment| segment.p_type == PT_PHDR);
        let shown = self.loaded().find(|segment| {
            let offset = self.header.e_phoff;
            segment.p_offset <= offset && offset < segment.p_offset.saturating_add(segment.p_filesz)
        });
        let address = match (told, shown) {
            (Some(told), _) => told.p_vaddr,
            (None, Some(shown)) => shown.p_vaddr.wrapping_add(self.header.e_phoff - shown.p_offset),
            (None, None) => 0,
        };
        (self.base.wrapping_add(address as usize), self.segments.len())
    }

    /// Where its last segment ends.
    pub(super) fn end(&self) -> usize {
        let ends = self.loaded().map(|segment| segment.p_vaddr.saturating_add(segment.p_memsz));
        self.base.saturating_add(ends.max().unwrap_or(0) as usize).min(USER_END)
    }
}

fn rights(segment: &ProgramHeader) -> Rights {
    let mut rights = Rights::empty();
    for (flag, right) in [(PF_R, Rights::READ), (PF_W, Rights::WRITE), (PF_X, Rights::EXECUTE)] {
        rights.set(right, segment.p_flags & flag != 0);
    }
    rights
}

/// Reads bytes of a file; how many there were.
///
/// # Errors
/// Those of `pread`.
pub(super) fn read_at(
    token: &mut MayFault,
    file: &Open,
    at: u64,
    bytes: &mut [u8],
) -> Result<usize, Errno> {
    let memory = KernelMemory::writable(bytes);
    let slice = memory.slice();
    let mut to = IovIter::from_slice(&memory, &slice);
    file.read_at(token, &mut to, at, &Running)
}
