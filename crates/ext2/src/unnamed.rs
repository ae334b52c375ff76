//! Files without a name (`O_TMPFILE`).
//!
//! Such a file goes with its last handle, as one does whose last name was removed while it was in
//! use. After a power cut both are inodes in use without links. `e2fsck -p`, which comes first
//! then, frees them, so there is no list of them in the superblock.
#![forbid(unsafe_code)]

use alloc::sync::Arc;

use faultless::prelude::Kernel;

use crate::error::Error;
use crate::layout::{Inode, Kind};
use crate::mount::Ext2;
use crate::names::{Caller, new_inode};
use crate::state::{File, Linking};

impl<K: Kernel> Ext2<K> {
    /// Makes an empty regular file without a name, on the file system of `directory`.
    ///
    /// # Errors
    /// [`Error::NotDirectory`]; [`Error::NotFound`] if the directory was removed; `NoSpace`,
    /// `ReadOnly`, `Io` of [`Errno`](faultless::prelude::Errno).
    pub fn create_unnamed(
        &self,
        caller: &Caller,
        directory: &File<K>,
        mode: u32,
        linking: Linking,
    ) -> Result<Arc<File<K>>, Error> {
        let mut meta = self.lock();
        meta.make_room_for_call()?;
        meta.at(caller.now);
        let parent = meta.directory(directory.inode)?;
        let number = meta.take_inode(directory.inode, Kind::File)?;
        let inode = Inode { links: 0, ..new_inode(caller, &parent, Kind::File, mode) };
        if let Err(errno) = meta.put_new_inode(number, &inode) {
            meta.free_inode(number, Kind::File)?;
            return Err(errno.into());
        }
        let file = self.open_node(&mut meta, number);
        if let Some(open) = meta.open.get_mut(&number) {
            open.linking = linking;
        }
        Ok(file)
    }
}
