//! Indexes of directories that have many blocks: where a name may be, and where a new one has room.
//!
//! Key types: [`Index`], of one directory; [`Indexes`]. An index is in memory alone. It only says
//! which blocks are worth a look: the names are in the blocks, so an index of an image that
//! contradicts itself finds too little, and nothing that is not there.
#![forbid(unsafe_code)]

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use faultless::prelude::Errno;

use crate::layout::{entries, needed};

/// Blocks from which on a directory is worth an index.
pub(crate) const WORTH: u64 = 4;

/// Bytes up to which it is: an index of that many takes about a megabyte.
pub(crate) const MOST_BYTES: u64 = 2 << 20;

/// Names that the indexes of several directories have together, at most.
const MOST_NAMES: usize = 1 << 16;

/// The index of a directory.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// The hash of each name, with its block.
    names: BTreeSet<(u32, u32)>,
    /// Bytes that each block has for a new name, in one piece.
    room: Vec<usize>,
}

impl Index {
    /// How many names it has.
    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }

    /// Takes the next block of the directory in.
    ///
    /// # Errors
    /// [`Errno::Io`] for entries that do not fit.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<(), Errno> {
        let block = self.room.len() as u32;
        for entry in entries(bytes) {
            let entry = entry?;
            if entry.inode != 0 {
                self.names.insert((hash(entry.name), block));
            }
        }
        self.room.push(room(bytes)?);
        Ok(())
    }

    /// The blocks that a name may be in, front to back.
    pub(crate) fn blocks_of(&self, name: &[u8]) -> Vec<u64> {
        let hash = hash(name);
        let blocks = self.names.range((hash, 0)..=(hash, u32::MAX));
        blocks.map(|(_, block)| u64::from(*block)).collect()
    }

    /// The first block with room for a name of that length.
    pub(crate) fn with_room(&self, name_len: usize) -> Option<u64> {
        let wanted = needed(name_len);
        self.room.iter().position(|room| *room >= wanted).map(|block| block as u64)
    }

    /// A name was added to a block, which has these bytes now.
    ///
    /// # Errors
    /// [`Errno::Io`] for entries that do not fit.
    pub(crate) fn added(&mut self, name: &[u8], block: u64, bytes: &[u8]) -> Result<(), Errno> {
        self.names.insert((hash(name), block as u32));
        self.look_again(block, bytes)
    }

    /// A name was removed from a block, which has these bytes now.
    ///
    /// # Errors
    /// [`Errno::Io`] for entries that do not fit.
    pub(crate) fn removed(&mut self, name: &[u8], block: u64, bytes: &[u8]) -> Result<(), Errno> {
        let gone = hash(name);
        for entry in entries(bytes) {
            let entry = entry?;
            // Another name of the same hash.
            if entry.inode != 0 && hash(entry.name) == gone {
                return self.look_again(block, bytes);
            }
        }
        self.names.remove(&(gone, block as u32));
        self.look_again(block, bytes)
    }

    fn look_again(&mut self, block: u64, bytes: &[u8]) -> Result<(), Errno> {
        if let Some(old) = self.room.get_mut(block as usize) {
            *old = room(bytes)?;
        }
        Ok(())
    }
}

/// The largest piece of a block that a new entry can have.
fn room(bytes: &[u8]) -> Result<usize, Errno> {
    entries(bytes).try_fold(0, |most, entry| {
        let entry = entry?;
        Ok(most.max(entry.len - entry.used()))
    })
}

/// FNV-1a.
fn hash(name: &[u8]) -> u32 {
    name.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// The indexes of a file system, by the numbers of the directories.
#[derive(Debug, Default)]
pub(crate) struct Indexes(BTreeMap<u32, Index>);

impl Indexes {
    pub(crate) fn get(&self, directory: u32) -> Option<&Index> {
        self.0.get(&directory)
    }

    pub(crate) fn get_mut(&mut self, directory: u32) -> Option<&mut Index> {
        self.0.get_mut(&directory)
    }

    /// Keeps an index. Those of other directories go if there are too many names.
    pub(crate) fn insert(&mut self, directory: u32, index: Index) {
        let names: usize = self.0.values().map(Index::len).sum();
        if names + index.len() > MOST_NAMES {
            self.0.clear();
        }
        self.0.insert(directory, index);
    }

    /// The directory has gone, or what is known of it is not right any more.
    pub(crate) fn forget(&mut self, directory: u32) {
        self.0.remove(&directory);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::{Kind, write_entry};

    /// A block of 64 bytes with these names of 4 bytes, and the rest in the last entry.
    fn block(names: &[&[u8; 4]]) -> [u8; 64] {
        let mut bytes = [0; 64];
        for (at, name) in names.iter().enumerate() {
            let len = if at + 1 == names.len() { 64 - at * 12 } else { 12 };
            write_entry(&mut bytes, (at * 12, len), (7, Kind::File), *name);
        }
        bytes
    }

    #[test]
    fn a_name_is_found_until_it_is_removed_and_its_room_is_known() {
        let mut index = Index::default();
        index.push(&block(&[b"aaaa", b"bbbb", b"cccc", b"dddd", b"eeee"])).expect("sound");
        index.push(&block(&[b"ffff"])).expect("sound");
        assert_eq!(index.blocks_of(b"eeee"), [0]);
        assert_eq!(index.blocks_of(b"ffff"), [1]);
        assert_eq!(index.blocks_of(b"gggg"), []);
        assert_eq!(
            (index.with_room(1), index.with_room(44), index.with_room(45)),
            (Some(1), Some(1), None)
        );
        index.removed(b"eeee", 0, &block(&[b"aaaa", b"bbbb", b"cccc", b"dddd"])).expect("sound");
        assert_eq!(index.blocks_of(b"eeee"), []);
        assert_eq!((index.with_room(8), index.with_room(9)), (Some(0), Some(1)));
        index.added(b"gggg", 1, &block(&[b"ffff", b"gggg"])).expect("sound");
        assert_eq!(index.blocks_of(b"gggg"), [1]);
        assert_eq!(index.with_room(40), None);
        assert_eq!(index.len(), 6);
    }

    #[test]
    fn a_name_of_the_same_hash_in_the_same_block_stays() {
        // The two hashes are equal.
        let (one, other) = (b"costarring", b"liquid");
        assert_eq!(hash(one), hash(other));
        let mut bytes = [0; 64];
        write_entry(&mut bytes, (0, 20), (7, Kind::File), one);
        write_entry(&mut bytes, (20, 44), (8, Kind::File), other);
        let mut index = Index::default();
        index.push(&bytes).expect("sound");
        write_entry(&mut bytes, (0, 64), (7, Kind::File), one);
        index.removed(other, 0, &bytes).expect("sound");
        assert_eq!(index.blocks_of(one), [0]);
    }

    #[test]
    fn indexes_do_not_grow_without_end() {
        let mut indexes = Indexes::default();
        let mut large = Index::default();
        large.names.extend((0..MOST_NAMES as u32).map(|name| (name, 0)));
        indexes.insert(1, Index::default());
        indexes.insert(2, large);
        assert!(indexes.get(1).is_some());
        indexes.insert(3, Index { names: [(0, 0)].into(), ..Index::default() });
        assert!(indexes.get(2).is_none() && indexes.get(3).is_some());
    }
}
