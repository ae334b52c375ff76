//! A store over a real file of the host.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use faultless_page::{
    AddressSpaceOperations, Begun, Contents, Errno, Fallocate, FillBuf, PAGE_SIZE, PageIndex,
    Reserved, Shift, SyncKind, WritebackRun,
};

/// A store that reads and writes a file of the host with `pread` and `pwrite`.
#[derive(Debug)]
pub struct FileStore {
    file: File,
    size: AtomicU64,
}

impl FileStore {
    /// A store over `file`, which must be open for reading and writing, and used by nothing else
    /// meanwhile.
    ///
    /// # Errors
    /// If the size cannot be had.
    pub fn new(file: File) -> io::Result<Arc<Self>> {
        let size = AtomicU64::new(file.metadata()?.len());
        Ok(Arc::new(Self { file, size }))
    }

    /// The size that the core recorded last; that of the file, to begin with.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size.load(Ordering::Relaxed)
    }

    fn len(&self) -> Result<u64, Errno> {
        self.file.metadata().map(|data| data.len()).map_err(errno)
    }
}

impl AddressSpaceOperations for FileStore {
    fn read(&self, index: PageIndex, buf: &mut FillBuf<'_>) -> Result<(), Errno> {
        let mut bytes = vec![0; buf.remaining()];
        let mut filled = 0;
        while filled < bytes.len() {
            let at = index.start() + filled as u64;
            match self.file.read_at(&mut bytes[filled..], at) {
                Ok(0) => break,
                Ok(more) => filled += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(errno(error)),
            }
        }
        buf.write(&bytes[..filled]);
        // The file ends there; it is made longer when it is synced.
        buf.fill_hole();
        Ok(())
    }

    fn write_begin(&self, pos: u64, len: usize) -> Result<Begun, Errno> {
        let contents = match PageIndex::containing(pos).start() < self.len()? {
            true => Contents::Stored,
            false => Contents::Hole,
        };
        Ok(Begun { len, contents, reserved: Reserved::Fully })
    }

    fn write_end(&self, _pos: u64, _len: usize, _copied: usize) {}

    fn writeback(&self, run: &WritebackRun<'_>) -> Result<(), Errno> {
        let mut bytes = vec![0; PAGE_SIZE];
        let mut offset = 0;
        while offset < run.len() {
            let len = PAGE_SIZE.min(run.len() - offset);
            run.copy_to(offset, &mut bytes[..len]);
            self.file.write_all_at(&bytes[..len], run.pos() + offset as u64).map_err(errno)?;
            offset += len;
        }
        Ok(())
    }

    fn truncate_blocks(&self, size: u64) {
        if self.len().is_ok_and(|len| len > size) {
            // Nothing to report a failure to: what lies past the end is then merely not given back.
            let _ = self.file.set_len(size);
        }
    }

    /// The file of the host has no blocks that this store knows of: zeros are written.
    fn fallocate(&self, change: Fallocate, range: Range<u64>) -> Result<(), Errno> {
        let end = range.end.min(self.len()?);
        if change == Fallocate::Allocate || range.start >= end {
            return Ok(());
        }
        let zeros = vec![0; (end - range.start) as usize];
        self.file.write_all_at(&zeros, range.start).map_err(errno)
    }

    /// As file systems of the host have it. The bytes are moved one by one, whatever these can do.
    fn shift_unit(&self) -> Option<u64> {
        Some(PAGE_SIZE as u64)
    }

    fn shift(&self, shift: Shift, range: Range<u64>, size: u64) -> Result<(), Errno> {
        let (from, to) = match shift {
            Shift::Collapse => (range.end, range.start),
            Shift::Insert => (range.start, range.end),
        };
        let mut tail = vec![0; self.len()?.saturating_sub(from) as usize];
        self.file.read_exact_at(&mut tail, from).map_err(errno)?;
        // What the file has from here on is a hole.
        self.file.set_len(range.start.min(self.len()?)).map_err(errno)?;
        self.file.write_all_at(&tail, to).map_err(errno)?;
        self.file.set_len(size).map_err(errno)?;
        self.set_size(size);
        Ok(())
    }

    fn set_size(&self, size: u64) {
        self.size.store(size, Ordering::Relaxed);
    }

    fn sync(&self, kind: SyncKind) -> Result<(), Errno> {
        let size = self.size();
        if self.len()? != size {
            self.file.set_len(size).map_err(errno)?;
        }
        match kind {
            SyncKind::Data => self.file.sync_data(),
            SyncKind::All => self.file.sync_all(),
        }
        .map_err(errno)
    }
}

fn errno(error: io::Error) -> Errno {
    match error.raw_os_error() {
        Some(libc::ENOSPC) => Errno::NoSpace,
        Some(libc::EFBIG) => Errno::FileTooBig,
        Some(libc::ENOMEM) => Errno::NoMemory,
        Some(libc::EROFS) => Errno::ReadOnly,
        _ => Errno::Io,
    }
}
