//! The smallest kernel that embeds Faultless: a file on a disk in memory.

use faultless::parts::{BlockDevice, BlockStore, FixedMap, FramePool, Page, RamDisk, YieldWait};
use faultless::prelude::*;
use faultless::usercopy::arch::NoWindow;

/// A file of up to 16 blocks of 512 bytes, on a disk that may have more.
type Disk = RamDisk<&'static mut [u8]>;
type File = BlockStore<&'static Disk, FixedMap<16>, YieldWait>;

/// The kernel: what it locks and waits with, and where memory and files come from.
struct MyKernel;

impl Kernel for MyKernel {
    type Sync = CoreSync;
    type Frames = FramePool;
    type Wait = YieldWait;
    type Cache = &'static PageCache<Self>;
    type Store = Box<File>;
    type UserMappings = NoUserMappings;
    type Replacement = ();
}

/// A process: its memory, and the file that it has open.
struct Process {
    memory: CurrentUser<NoWindow>,
    file: Inode<MyKernel>,
}

/// Which system call.
enum Call {
    Read,
    Write,
    Fsync,
}

/// The entry of a system call, with the address and length of a buffer and a position in the file.
fn system_call(process: &Process, call: Call, address: usize, len: usize, pos: u64) -> isize {
    // SAFETY: at the entry of a system call no lock is held.
    let mut token = unsafe { MayFault::assert() };
    let Process { memory, file } = process;
    let Ok(buffer) = UserSlice::new(memory, UserAddr::new(address), len) else {
        return Errno::to_raw(Err(Errno::Fault));
    };
    let mut bytes = IovIter::from_slice(memory, &buffer);
    Errno::to_raw(match call {
        Call::Read => file.read(&mut token, &mut bytes, pos, &NoTask),
        Call::Write => {
            let options = WriteOptions::at(pos);
            file.write(&mut token, &mut bytes, &options, &NoTask).map(|written| written.bytes)
        }
        Call::Fsync => file.fsync(&mut token, SyncKind::All, &NoTask).map(|()| 0),
    })
}

fn main() -> Result<(), Errno> {
    // Physical memory: 64 pages. A kernel has them from its boot memory map
    // (`FramePool::from_raw`).
    let frames = FramePool::new(Box::leak(vec![Page::ZERO; 64].into_boxed_slice()));
    let wait: YieldWait = YieldWait::new(std::thread::yield_now);
    let cache: &'static PageCache<MyKernel> = Box::leak(Box::new(PageCache::new(frames, wait)));

    let disk = RamDisk::new(vec![0xdb; 16 * 512].leak(), 512)?;
    let disk: &'static Disk = Box::leak(Box::new(disk));
    let store = BlockStore::with_wait(disk, FixedMap::new(0..16), wait)?;
    let file = Inode::new(cache, Box::new(store), NoUserMappings, 0);

    // User memory: a buffer that stands for a process. A kernel names its user half instead.
    let user = vec![b'x'; 2 * PAGE_SIZE].leak();
    user[..5].copy_from_slice(b"hello");
    let (start, end) = (user.as_mut_ptr().expose_provenance(), user.as_ptr_range().end.addr());
    // SAFETY: leaked, all of it mapped, and from here on reached through the user copies alone.
    let memory = unsafe { CurrentUser::new(start..end) };
    let process = Process { memory, file };

    // Across a page boundary, after a hole: only the two blocks with data are on the disk.
    assert_eq!(system_call(&process, Call::Write, start, 5, 4094), 5);
    assert_eq!(system_call(&process, Call::Read, start + 100, 8, 4093), 6);
    assert_eq!(system_call(&process, Call::Fsync, 0, 0, 0), 0);
    let mut blocks = [0; 1024];
    disk.read(0, &mut blocks)?;
    assert_eq!(blocks[510..517], *b"hello\0\0");

    // A bad address is an error, and nothing has changed (W1).
    assert_eq!(system_call(&process, Call::Write, end - 1, 5, 0), -14);
    assert_eq!(process.file.size(), 4099);
    println!("{} bytes in the file", process.file.size());
    Ok(())
}
