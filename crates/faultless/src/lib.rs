#![doc = include_str!("../GUIDE.md")]
#![doc = "```"]
#![doc = include_str!("../examples/tiny_kernel.rs")]
#![doc = "```"]
#![no_std]
#![forbid(unsafe_code)]

pub use faultless_filemap as filemap;
pub use faultless_page as page;
pub use faultless_parts as parts;
pub use faultless_usercopy as usercopy;

/// What nearly every embedder names.
pub mod prelude {
    pub use faultless_filemap::{
        Access, ErrorCursor, FaultError, FileSize, InFault, InKernel, Inode, InodeLocks,
        MappedFrame, MsyncKind, NoTask, NonBlocking, NotYet, OpenFile, OpenFlags, PageLocks,
        Position, PrepareCommit, PrepareCommitStore, Protection, Strategy, SyncKind, Task, Times,
        WriteOptions, Written,
    };
    pub use faultless_page::{
        AddressSpaceOperations, Begun, Contents, CoreSync, Errno, FailedSync, Fallocate, FillBuf,
        FrameNumber, Frames, Kernel, LockContext, NoUserMappings, PAGE_SIZE, PageCache, PageIndex,
        Reserved, SharedFrame, Shift, SpinWait, SyncFamily, Unmap, UserMappings, Wait, WaitKey,
        WritebackRun,
    };
    pub use faultless_usercopy::{
        CurrentUser, Efault, IovIter, IovecError, KernelMemory, MayFault, UserAddr, UserMemory,
        UserSlice, copy_from_user, copy_to_user, import_iovec,
    };
}
