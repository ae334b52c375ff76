//! A store of blocks that is cheap to make and to ask: a few pages, flat, poisoned. It lies where
//! the plant says so.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use faultless_page::{
    AddressSpaceOperations, Begun, Contents, Errno, FillBuf, PAGE_SIZE, PageIndex, Reserved,
    SyncKind, WritebackRun,
};

use super::super::Plant;
use super::super::contents::{self, STALE};

/// Pages of the file, at most.
pub(super) const PAGES: usize = 5;
pub(super) const BYTES: usize = PAGES * PAGE_SIZE;
/// The smallest block.
const SMALLEST: usize = 512;
const ZEROS: [u8; PAGE_SIZE] = [0; PAGE_SIZE];

/// Whether the file has a block, and whether its bytes were ever sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Block {
    Absent,
    Unwritten,
    Written,
}

/// How the store is built.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// Bytes of a block.
    pub(super) block: usize,
    /// Blocks that the device has room for.
    pub(super) capacity: usize,
    /// The most that a `write_begin` grants.
    pub(super) longest: usize,
}

/// The store.
pub(super) struct FlatStore {
    shape: Shape,
    plant: Plant,
    device: Mutex<Device>,
}

struct Device {
    bytes: [u8; BYTES],
    blocks: [Block; BYTES / SMALLEST],
    free: usize,
    /// What the core did that a correct one does not.
    complaint: Option<String>,
}

impl FlatStore {
    /// An empty file.
    pub(super) fn new(shape: Shape, plant: Plant) -> Arc<Self> {
        let device = Device {
            bytes: [STALE; BYTES],
            blocks: [Block::Absent; BYTES / SMALLEST],
            free: shape.capacity,
            complaint: None,
        };
        Arc::new(Self { shape, plant, device: Mutex::new(device) })
    }

    fn device(&self) -> MutexGuard<'_, Device> {
        self.device.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The core did nothing that a correct one does not, and no block lies past the end of a file
    /// of `size` bytes.
    #[track_caller]
    pub(super) fn check(&self, size: u64) {
        let device = self.device();
        assert_eq!(device.complaint, None, "W9, P2");
        let first = size.div_ceil(self.shape.block as u64) as usize;
        let past = device.blocks[first.min(device.blocks.len())..].iter();
        let past = past.filter(|block| **block != Block::Absent).count();
        assert_eq!(past, 0, "W9: blocks past the end");
    }

    /// The device holds what the file ought to.
    #[track_caller]
    pub(super) fn check_contents(&self, contents: &contents::Contents) {
        let device = self.device();
        let size = contents.bytes().len();
        for start in (0..size).step_by(self.shape.block) {
            let end = (start + self.shape.block).min(size);
            let bytes = match device.blocks[start / self.shape.block] {
                Block::Written => &device.bytes[start..end],
                Block::Absent | Block::Unwritten => &ZEROS[..end - start],
            };
            contents.check_read(start, end - start, bytes, "the store");
        }
    }

    /// Places of the blocks of a page.
    fn blocks_of(&self, index: PageIndex) -> impl Iterator<Item = usize> + use<> {
        let start = index.start() as usize;
        (start..start + PAGE_SIZE).step_by(self.shape.block)
    }

    /// The block of the byte `at`.
    const fn block(&self, at: usize) -> usize {
        at / self.shape.block
    }
}

impl Device {
    fn complain(&mut self, what: String) {
        self.complaint.get_or_insert(what);
    }
}

impl AddressSpaceOperations for FlatStore {
    fn read(&self, index: PageIndex, buf: &mut FillBuf<'_>) -> Result<(), Errno> {
        let device = self.device();
        for start in self.blocks_of(index) {
            let bytes = &device.bytes[start..start + self.shape.block];
            match device.blocks[self.block(start)] {
                Block::Written if self.plant == Plant::StoreShortTransfer => {
                    let half = self.shape.block / 2;
                    buf.write(&bytes[..half]);
                    // SAFETY: broken on purpose: the other half was not written. It is memory that
                    // was written some time.
                    unsafe { buf.advance(half) };
                }
                Block::Written => drop(buf.write(bytes)),
                _ if self.plant == Plant::StoreStaleHole => drop(buf.write(bytes)),
                _ => drop(buf.skip_zero(self.shape.block)),
            }
        }
        Ok(())
    }

    fn write_begin(&self, pos: u64, len: usize) -> Result<Begun, Errno> {
        let mut device = self.device();
        let (first, mut end) = (pos as usize, pos as usize);
        let wanted = first + len.min(self.shape.longest);
        while end < wanted {
            let block = self.block(end);
            if device.blocks[block] == Block::Absent {
                if device.free == 0 && end == first {
                    return Err(Errno::NoSpace);
                }
                if device.free == 0 {
                    break;
                }
                device.free -= 1;
                device.blocks[block] = Block::Unwritten;
            }
            end = wanted.min((block + 1) * self.shape.block);
        }
        let page = PageIndex::containing(pos);
        let states = || self.blocks_of(page).map(|start| device.blocks[self.block(start)]);
        let stored = states().any(|block| block == Block::Written);
        let stored = stored && self.plant != Plant::StoreForgetsData;
        Ok(Begun {
            len: end - first,
            contents: if stored { Contents::Stored } else { Contents::Hole },
            reserved: match states().all(|block| block != Block::Absent) {
                true => Reserved::Fully,
                false => Reserved::Partly,
            },
        })
    }

    fn write_end(&self, pos: u64, len: usize, copied: usize) {
        if copied > len {
            self.device().complain(format!("write_end at {pos}: {copied} of {len} bytes (B14)"));
        }
    }

    fn writeback(&self, run: &WritebackRun<'_>) -> Result<(), Errno> {
        let mut device = self.device();
        let size = run.pos() as usize + run.len();
        let mut page = ZEROS;
        for nth in 0..u64::from(run.pages()) {
            run.copy_to(nth as usize * PAGE_SIZE, &mut page);
            let index = run.first().plus(nth);
            for start in self.blocks_of(index) {
                let offset = start - index.start() as usize;
                let bytes = &page[offset..offset + self.shape.block];
                let inside = size.saturating_sub(start).min(bytes.len());
                if bytes[inside..] != ZEROS[inside..bytes.len()] {
                    device.complain(format!("bytes past {size} are sent at {start}"));
                }
                let block = self.block(start);
                if device.blocks[block] != Block::Absent {
                    device.blocks[block] = Block::Written;
                    device.bytes[start..start + bytes.len()].copy_from_slice(bytes);
                } else if bytes[..inside] != ZEROS[..inside] {
                    device.complain(format!("data at {start}, for which there is no room"));
                }
            }
        }
        Ok(())
    }

    fn truncate_blocks(&self, size: u64) {
        if self.plant == Plant::StoreKeepsBlocks {
            return;
        }
        let mut device = self.device();
        let size = (size as usize).min(BYTES);
        for start in (0..BYTES).step_by(self.shape.block) {
            let (block, end) = (self.block(start), start + self.shape.block);
            if start >= size && device.blocks[block] != Block::Absent {
                device.blocks[block] = Block::Absent;
                device.free += 1;
                device.bytes[start..end].fill(STALE);
            } else if (start..end).contains(&size) && device.blocks[block] == Block::Written {
                device.bytes[size..end].fill(0);
            }
        }
    }

    fn set_size(&self, _size: u64) {}

    fn sync(&self, _kind: SyncKind) -> Result<(), Errno> {
        Ok(())
    }
}
