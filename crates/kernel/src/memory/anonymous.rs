//! Memory without a file. Private memory is a private mapping of a file of zeros that ends nowhere:
//! a load shows its page, a store gets a frame of zeros. Shared memory is a file in memory without
//! a name.
#![forbid(unsafe_code)]

use alloc::sync::Arc;

use core::ops::Range;

use faultless::page::SyncKind;
use faultless::parts::RamStore;
use faultless::prelude::{
    AddressSpaceOperations, Begun, Errno as StoreErrno, FillBuf, PAGE_SIZE, PageIndex, WritebackRun,
};
use faultless_posix::{Description, Errno, MapRequest, Rights, Sharing};
use linux_raw_sys::general as linux;
use spin::Once;

use crate::memory::machine::{FileHandle, Machine, Open};
use crate::memory::map::USER_END;

/// The store of a file of zeros.
struct Zeros;

impl AddressSpaceOperations for Zeros {
    fn read(&self, _index: PageIndex, buf: &mut FillBuf<'_>) -> Result<(), StoreErrno> {
        buf.fill_hole();
        Ok(())
    }

    fn write_begin(&self, _pos: u64, _len: usize) -> Result<Begun, StoreErrno> {
        Err(StoreErrno::ReadOnly)
    }

    fn write_end(&self, _pos: u64, _len: usize, _copied: usize) {}

    fn writeback(&self, _run: &WritebackRun<'_>) -> Result<(), StoreErrno> {
        Err(StoreErrno::ReadOnly)
    }

    fn truncate_blocks(&self, _size: u64) {}

    fn set_size(&self, _size: u64) {}

    fn sync(&self, _kind: SyncKind) -> Result<(), StoreErrno> {
        Ok(())
    }

    fn extent(&self, _pos: u64) -> Result<Option<Range<u64>>, StoreErrno> {
        Ok(None)
    }
}

static ZEROS: Once<Open> = Once::new();

fn zeros() -> &'static Open {
    ZEROS.call_once(|| open(FileHandle::zeros(Arc::new(Zeros), USER_END as u64)))
}

/// Whether a mapping is of private memory without a file.
pub(crate) fn is_anonymous(open: &Open) -> bool {
    Arc::ptr_eq(open, zeros())
}

fn open(file: FileHandle) -> Open {
    Arc::new(Description::new(file, linux::O_RDWR))
}

/// What maps private memory at an address. The offset goes with the address, so that a mapping that
/// is made longer goes on where it ended.
pub(crate) fn anonymous_request(address: usize, len: usize, rights: Rights) -> MapRequest<Machine> {
    MapRequest {
        description: Arc::clone(zeros()),
        offset: (address / PAGE_SIZE * PAGE_SIZE) as u64,
        len,
        rights,
        sharing: Sharing::Private,
    }
}

/// What maps new shared memory.
///
/// # Errors
/// `ENOMEM` for more than a file can have.
pub(crate) fn shared_anonymous(len: usize, rights: Rights) -> Result<MapRequest<Machine>, Errno> {
    let len = len.checked_next_multiple_of(PAGE_SIZE).ok_or(Errno::NOMEM)?;
    let size = u64::try_from(len).map_err(|_| Errno::NOMEM)?;
    let description = open(FileHandle::new(Arc::new(RamStore::new()), size, None));
    Ok(MapRequest { description, offset: 0, len, rights, sharing: Sharing::Shared })
}
