//! Data between pages and the device: a request of the page cache is cut where the blocks of its
//! file do not follow each other on the disk.
//!
//! Whole pages in consecutive blocks go by the request itself, whose memory the device reads or
//! writes. A page in pieces, with holes, or with the end of the file in it goes block by block
//! through buffers. Where blocks are, is looked up before the transfer, with the lock of the file
//! system; a lookup may have to read an indirect block, and sleeps for it. The ends take no lock
//! but short ones.
#![forbid(unsafe_code)]

use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering::AcqRel;

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use faultless::page::{ReadRequest, Spin, SpinLock, WritebackRequest};
use faultless::prelude::{Errno, Kernel, PAGE_SIZE, WritebackRun};

use crate::device::{Ended, ReadTransfer, WriteTransfer};
use crate::layout::Inode;
use crate::space::Room;
use crate::state::{File, Fresh, Meta, Volume};
use crate::waiting::DataWrite;

/// How the next pages of a request go.
struct Stretch {
    pages: u32,
    way: Way,
}

enum Way {
    /// They are a hole.
    Hole,
    /// By the request itself, from this block of the disk on.
    Whole(u32),
    /// One page, piece by piece.
    Pieces(Vec<Piece>),
    /// They cannot be found, or have no room.
    Failed(Errno),
}

/// A block of a page.
enum Piece {
    Zeros,
    /// A block of the disk.
    Disk(u32),
    /// These bytes.
    Buffer(Box<[u8]>),
}

impl<K: Kernel> File<K> {
    /// Hands a read to the device.
    pub(crate) fn read_pages(&self, mut request: ReadRequest) {
        let plan = self.plan_read(&request);
        request.let_go();
        let mut rest = Some(request);
        for stretch in plan {
            let Some(mut request) = rest.take() else { return };
            rest = request.split_off(stretch.pages);
            match stretch.way {
                Way::Failed(errno) => request.fail(errno),
                Way::Hole => request.fill(|_, buf| {
                    buf.fill_hole();
                    Ok(())
                }),
                Way::Whole(block) => {
                    let position = self.volume.position(block);
                    self.volume.device.read(ReadTransfer::pages(position, request));
                }
                Way::Pieces(pieces) => read_pieces(&self.volume, request, pieces),
            }
        }
    }

    fn plan_read(&self, request: &ReadRequest) -> Vec<Stretch> {
        let mut meta = self.volume.lock();
        if self.volume.flight.take_failure() {
            meta.settle();
        }
        let run = request.run();
        let mut plan = Vec::new();
        match meta.inode(self.inode) {
            Err(errno) => plan.push(Stretch { pages: run.pages(), way: Way::Failed(errno) }),
            Ok(inode) => {
                for page in 0..u64::from(run.pages()) {
                    let page = run.first().plus(page).get();
                    let way = meta.page_to_read(&inode, page).unwrap_or_else(Way::Failed);
                    add(&mut plan, way, meta.blocks_per_page());
                }
            }
        }
        plan
    }

    /// Hands a writeback to the device. Blocks that were promised room get it now.
    pub(crate) fn write_pages(&self, mut request: WritebackRequest) {
        request.let_go();
        let (plan, writes) = self.plan_write(&request);
        let mut rest = Some(request);
        let mut writes = writes.into_iter();
        for stretch in plan {
            let Some(mut request) = rest.take() else { return };
            rest = request.split_off(stretch.pages);
            match stretch.way {
                Way::Failed(errno) => request.complete(Err(errno)),
                Way::Hole => request.complete(Ok(())),
                Way::Whole(block) => {
                    let Some(write) = writes.next() else { return };
                    let position = self.volume.position(block);
                    self.volume.device.write(WriteTransfer::pages(position, request, write));
                }
                Way::Pieces(pieces) => {
                    let Some(write) = writes.next() else { return };
                    write_pieces(&self.volume, request, &pieces, write);
                }
            }
        }
    }

    /// How the pages go, and the writes that begin with that, one for each stretch that has blocks:
    /// a commit waits for them from here on.
    fn plan_write(&self, request: &WritebackRequest) -> (Vec<Stretch>, Vec<Arc<DataWrite<K>>>) {
        let mut meta = self.volume.lock();
        let run = request.run();
        let failed = |errno| vec![Stretch { pages: run.pages(), way: Way::Failed(errno) }];
        let inode = meta.make_room_for_call().and_then(|()| meta.inode(self.inode));
        let mut inode = match inode {
            Ok(inode) => inode,
            Err(errno) => return (failed(errno), Vec::new()),
        };
        let mut plan = Vec::new();
        // The new blocks of each page.
        let mut fresh = Vec::new();
        for at in 0..run.pages() {
            let mut new = Vec::new();
            let page = request.view().part(at, 1);
            let way = meta.page_to_write(self.inode, &mut inode, &page, &mut new);
            add(&mut plan, way.unwrap_or_else(Way::Failed), meta.blocks_per_page());
            fresh.push(new);
        }
        if let Err(errno) = meta.put_inode(self.inode, &inode) {
            return (failed(errno), Vec::new());
        }
        let mut fresh = fresh.into_iter();
        let mut writes = Vec::new();
        for stretch in &plan {
            let blocks: Vec<_> = fresh.by_ref().take(stretch.pages as usize).flatten().collect();
            let goes = matches!(stretch.way, Way::Whole(_) | Way::Pieces(_));
            if !goes && blocks.is_empty() {
                continue;
            }
            let write = DataWrite::begin(&self.volume.flight);
            if !blocks.is_empty() {
                meta.fresh.push(Fresh { write: Arc::clone(&write), inode: self.inode, blocks });
            }
            if goes {
                writes.push(write);
            } else {
                // Some blocks of a page got room, and another one could not.
                write.ended(0, None, Err(Errno::Io));
            }
        }
        (plan, writes)
    }
}

/// Adds a page to a plan.
fn add(plan: &mut Vec<Stretch>, way: Way, blocks_per_page: u32) {
    if let Some(last) = plan.last_mut() {
        let next = last.pages * blocks_per_page;
        let follows = match (&last.way, &way) {
            (Way::Hole, Way::Hole) => true,
            (Way::Whole(first), Way::Whole(block)) => first + next == *block,
            (Way::Failed(first), Way::Failed(errno)) => first == errno,
            _ => false,
        };
        if follows {
            last.pages += 1;
            return;
        }
    }
    plan.push(Stretch { pages: 1, way });
}

impl<K: Kernel> Meta<'_, K> {
    fn blocks_per_page(&self) -> u32 {
        (PAGE_SIZE / self.disk().block_size) as u32
    }

    fn page_to_read(&mut self, inode: &Inode, page: u64) -> Result<Way, Errno> {
        let per_page = u64::from(self.blocks_per_page());
        let mut pieces = Vec::new();
        for block in page * per_page..(page + 1) * per_page {
            pieces.push(match self.find_block(inode, block)? {
                None => Piece::Zeros,
                Some(at) => match self.buffered(at) {
                    Some(bytes) => Piece::Buffer(bytes.into()),
                    None => Piece::Disk(at),
                },
            });
        }
        Ok(way_of(pieces))
    }

    /// How a page goes to the disk; `new` gets its blocks that have room from here on.
    fn page_to_write(
        &mut self,
        number: u32,
        inode: &mut Inode,
        page: &WritebackRun<'_>,
        new: &mut Vec<(u32, u32)>,
    ) -> Result<Way, Errno> {
        let size = self.disk().block_size;
        let first = page.pos() / size as u64;
        let mut pieces = Vec::new();
        for block in first..first + page.len().div_ceil(size) as u64 {
            let at = match self.find_block(inode, block)? {
                Some(at) => Some(at),
                None => self.give_room(number, inode, block, new)?,
            };
            let Some(at) = at else {
                pieces.push(Piece::Zeros);
                continue;
            };
            // What was zeroed here is older than the page.
            self.forget(at);
            if let Some(open) = self.open.get_mut(&number)
                && let Some(tail) = &mut open.tail
                && tail.block == at
            {
                page.copy_to((block - first) as usize * size, &mut tail.bytes);
            }
            pieces.push(Piece::Disk(at));
        }
        let is_whole = page.len() == PAGE_SIZE;
        Ok(if is_whole || pieces.iter().all(|piece| matches!(piece, Piece::Zeros)) {
            way_of(pieces)
        } else {
            Way::Pieces(pieces)
        })
    }

    /// Gives a block of a file the room that it was promised. `None` if it was not: it holds zeros.
    fn give_room(
        &mut self,
        number: u32,
        inode: &mut Inode,
        block: u64,
        new: &mut Vec<(u32, u32)>,
    ) -> Result<Option<u32>, Errno> {
        let key = block as u32;
        let Some(open) = self.open.get_mut(&number) else { return Ok(None) };
        if !open.reserved.contains(&key) {
            return Ok(None);
        }
        let goal = self.goal(number, inode, block);
        let at = self.take_block(goal, Room::Reserved)?;
        if let Some(open) = self.open.get_mut(&number) {
            open.reserved.remove(&key);
        }
        if let Err(errno) = self.insert(inode, block, at) {
            self.free_block(at);
            return Err(errno);
        }
        new.push((key, at));
        Ok(Some(at))
    }
}

fn way_of(pieces: Vec<Piece>) -> Way {
    let first = match pieces.first() {
        Some(Piece::Disk(first)) => *first,
        _ if pieces.iter().all(|piece| matches!(piece, Piece::Zeros)) => return Way::Hole,
        _ => return Way::Pieces(pieces),
    };
    let follows =
        |(piece, expected): (&Piece, u32)| matches!(piece, Piece::Disk(at) if *at == expected);
    if pieces.iter().zip(first..).all(follows) { Way::Whole(first) } else { Way::Pieces(pieces) }
}

/// A page that is read in pieces.
struct PiecesToRead<K: Kernel> {
    /// The bytes of each piece that is there; the others are zeros, or under way.
    bytes: SpinLock<K, Vec<Option<Box<[u8]>>>>,
    failed: SpinLock<K, Option<Errno>>,
    left: AtomicUsize,
    request: SpinLock<K, Option<ReadRequest>>,
    block_size: usize,
}

fn read_pieces<K: Kernel>(volume: &Volume<K>, request: ReadRequest, pieces: Vec<Piece>) {
    let mut bytes = Vec::new();
    let mut reads = Vec::new();
    for (part, piece) in pieces.into_iter().enumerate() {
        bytes.push(match piece {
            Piece::Buffer(bytes) => Some(bytes),
            Piece::Zeros => None,
            Piece::Disk(block) => {
                reads.push((part, block));
                None
            }
        });
    }
    let block_size = volume.disk.block_size;
    let page = Arc::new(PiecesToRead::<K> {
        bytes: Spin::new(bytes),
        failed: Spin::new(None),
        // One for this call, so that a page without reads ends as well.
        left: AtomicUsize::new(reads.len() + 1),
        request: Spin::new(Some(request)),
        block_size,
    });
    for (part, block) in reads {
        let buffer = vec![0; block_size].into();
        let call: Arc<dyn Ended> = page.clone();
        volume.device.read(ReadTransfer::buffer(volume.position(block), buffer, part, call));
    }
    page.end_one();
}

impl<K: Kernel> PiecesToRead<K> {
    fn end_one(&self) {
        if self.left.fetch_sub(1, AcqRel) > 1 {
            return;
        }
        let request = self.request.lock().take();
        let Some(request) = request else { return };
        let failed = *self.failed.lock();
        if let Some(errno) = failed {
            return request.fail(errno);
        }
        let bytes = core::mem::take(&mut *self.bytes.lock());
        request.fill(|_, buf| {
            for piece in &bytes {
                match piece {
                    Some(bytes) => buf.write(bytes),
                    None => buf.skip_zero(self.block_size),
                };
            }
            Ok(())
        });
    }
}

impl<K: Kernel> Ended for PiecesToRead<K> {
    fn ended(&self, part: usize, bytes: Option<Box<[u8]>>, result: Result<(), Errno>) {
        if let Err(errno) = result {
            *self.failed.lock() = Some(errno);
        }
        self.bytes.lock()[part] = bytes;
        self.end_one();
    }
}

/// A page that is written in pieces.
struct PiecesToWrite<K: Kernel> {
    failed: SpinLock<K, Option<Errno>>,
    left: AtomicUsize,
    request: SpinLock<K, Option<WritebackRequest>>,
    write: Arc<DataWrite<K>>,
}

fn write_pieces<K: Kernel>(
    volume: &Volume<K>,
    request: WritebackRequest,
    pieces: &[Piece],
    write: Arc<DataWrite<K>>,
) {
    let size = volume.disk.block_size;
    let mut buffers = Vec::new();
    for (part, piece) in pieces.iter().enumerate() {
        if let Piece::Disk(block) = piece {
            let mut bytes: Box<[u8]> = vec![0; size].into();
            request.view().copy_to(part * size, &mut bytes);
            buffers.push((*block, bytes));
        }
    }
    let page = Arc::new(PiecesToWrite::<K> {
        failed: Spin::new(None),
        left: AtomicUsize::new(buffers.len() + 1),
        request: Spin::new(Some(request)),
        write,
    });
    for (block, bytes) in buffers {
        let call: Arc<dyn Ended> = page.clone();
        volume.device.write(WriteTransfer::buffer(volume.position(block), bytes, 0, call));
    }
    page.ended(0, None, Ok(()));
}

impl<K: Kernel> Ended for PiecesToWrite<K> {
    fn ended(&self, _part: usize, _bytes: Option<Box<[u8]>>, result: Result<(), Errno>) {
        if let Err(errno) = result {
            *self.failed.lock() = Some(errno);
        }
        if self.left.fetch_sub(1, AcqRel) > 1 {
            return;
        }
        let result = self.failed.lock().map_or(Ok(()), Err);
        let request = self.request.lock().take();
        if let Some(request) = request {
            request.complete(result);
        }
        self.write.ended(0, None, result);
    }
}
