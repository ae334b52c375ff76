//! Extended attributes: a block of the disk for each inode that has some, with the names at its
//! begin and the values at its end.
//!
//! Inodes may have a block in common, as `mke2fs -d` makes them: one that changes gets its own.
#![forbid(unsafe_code)]

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use faultless::prelude::{Errno, Kernel};

use crate::error::Error;
use crate::layout::{Inode, get16, get32, set16, set32};
use crate::mount::Ext2;
use crate::space::Room;
use crate::state::{File, Meta, Order};

/// What a block of attributes begins with.
const MAGIC: u32 = 0xea02_0000;

/// Bytes before the first entry, and of an entry before its name.
const HEADER: usize = 32;
const ENTRY: usize = 16;

/// What names begin with, and the numbers that stand for it. Attributes of other kinds are kept,
/// and not shown.
const PREFIXES: [(&[u8], u8); 3] = [(b"user.", 1), (b"trusted.", 4), (b"security.", 6)];

/// An attribute: the kind and the name behind its prefix, and the value.
struct Attribute {
    kind: u8,
    name: Vec<u8>,
    value: Vec<u8>,
}

/// The number of a name's prefix, and the rest.
///
/// # Errors
/// [`Errno::NotSupported`]: such attributes cannot be stored.
fn split(name: &[u8]) -> Result<(u8, &[u8]), Errno> {
    let found =
        PREFIXES.iter().find_map(|(prefix, kind)| Some((*kind, name.strip_prefix(*prefix)?)));
    found.filter(|(_, rest)| rest.len() <= u8::MAX.into()).ok_or(Errno::NotSupported)
}

impl Attribute {
    fn is(&self, (kind, name): (u8, &[u8])) -> bool {
        self.kind == kind && self.name == name
    }

    /// What `e2fsck` compares.
    fn hash(&self) -> u32 {
        let named =
            self.name.iter().fold(0_u32, |hash, byte| hash.rotate_left(5) ^ u32::from(*byte));
        self.value.chunks(4).fold(named, |hash, bytes| {
            let mut word = [0; 4];
            word[..bytes.len()].copy_from_slice(bytes);
            hash.rotate_left(16) ^ u32::from_le_bytes(word)
        })
    }
}

/// The attributes of a block.
///
/// # Errors
/// [`Errno::Io`]: it contradicts itself.
fn parse(block: &[u8]) -> Result<Vec<Attribute>, Errno> {
    let mut all = Vec::new();
    let mut at = HEADER;
    while at + 4 <= block.len() && get32(block, at) != 0 {
        let head = block.get(at..at + ENTRY).ok_or(Errno::Io)?;
        let name_at = at + ENTRY;
        let name_end = name_at + usize::from(head[0]);
        let (start, len) = (usize::from(get16(head, 2)), get32(head, 8) as usize);
        let value = start.checked_add(len).and_then(|end| block.get(start..end));
        all.push(Attribute {
            kind: head[1],
            name: block.get(name_at..name_end).ok_or(Errno::Io)?.into(),
            value: value.ok_or(Errno::Io)?.into(),
        });
        at = name_end.next_multiple_of(4);
    }
    Ok(all)
}

/// A block of these attributes, in order; none if they do not fit.
fn block_of(all: &[Attribute], size: usize) -> Option<Box<[u8]>> {
    let mut bytes = vec![0; size];
    let (mut at, mut end, mut hash) = (HEADER, size, 0_u32);
    for attribute in all {
        let name_end = at + ENTRY + attribute.name.len();
        let next = name_end.next_multiple_of(4);
        let start = end.checked_sub(attribute.value.len().next_multiple_of(4))?;
        // The names end with a word of zeros.
        if next + 4 > start {
            return None;
        }
        bytes[at] = attribute.name.len() as u8;
        bytes[at + 1] = attribute.kind;
        let is_empty = attribute.value.is_empty();
        set16(&mut bytes, at + 2, if is_empty { 0 } else { start as u16 });
        set32(&mut bytes, at + 8, attribute.value.len() as u32);
        set32(&mut bytes, at + 12, attribute.hash());
        bytes[at + ENTRY..name_end].copy_from_slice(&attribute.name);
        bytes[start..start + attribute.value.len()].copy_from_slice(&attribute.value);
        hash = hash.rotate_left(16) ^ attribute.hash();
        (at, end) = (next, start);
    }
    for (place, word) in [(0, MAGIC), (4, 1), (8, 1), (12, hash)] {
        set32(&mut bytes, place, word);
    }
    Some(bytes.into())
}

impl<K: Kernel> Ext2<K> {
    /// The value of an extended attribute, by its whole name; `None` if there is none.
    ///
    /// # Errors
    /// [`Errno::NotSupported`] for a name that cannot be stored; [`Errno::Io`].
    pub fn extended(&self, node: &File<K>, name: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let name = split(name)?;
        let mut meta = self.lock();
        let inode = meta.inode(node.inode)?;
        let all = meta.extended_of(&inode)?;
        Ok(all.into_iter().find(|attribute| attribute.is(name)).map(|found| found.value))
    }

    /// The whole names of a node's extended attributes.
    ///
    /// # Errors
    /// [`Errno::Io`].
    pub fn extended_names(&self, node: &File<K>) -> Result<Vec<Vec<u8>>, Error> {
        let mut meta = self.lock();
        let inode = meta.inode(node.inode)?;
        let all = meta.extended_of(&inode)?;
        let whole = |attribute: Attribute| {
            let (prefix, _) = PREFIXES.iter().find(|(_, kind)| *kind == attribute.kind)?;
            Some([*prefix, &*attribute.name].concat())
        };
        Ok(all.into_iter().filter_map(whole).collect())
    }

    /// Sets an extended attribute, or removes it, at the time `now`, if `may` allows that: it is
    /// told the value that is there.
    ///
    /// # Errors
    /// Those of `may`; [`Errno::NotSupported`] for a name that cannot be stored, and if the file
    /// system was made without extended attributes; [`Errno::NoSpace`]: they do not fit in a block,
    /// or the disk is full; [`Errno::ReadOnly`], [`Errno::Io`].
    pub fn set_extended<E: From<Errno>>(
        &self,
        node: &File<K>,
        name: &[u8],
        value: Option<&[u8]>,
        may: impl FnOnce(Option<&[u8]>) -> Result<(), E>,
        now: u64,
    ) -> Result<(), E> {
        let (kind, name) = split(name)?;
        let mut meta = self.lock();
        if !meta.disk().has_extended {
            return Err(Errno::NotSupported.into());
        }
        meta.make_room_for_call()?;
        meta.at(now);
        let mut inode = meta.inode(node.inode)?;
        let mut all = meta.extended_of(&inode)?;
        let place = all.iter().position(|attribute| attribute.is((kind, name)));
        may(place.map(|place| &*all[place].value))?;
        if let Some(place) = place {
            all.remove(place);
        }
        if let Some(value) = value {
            let order = |attribute: &Attribute| {
                let theirs = (attribute.kind, attribute.name.len(), &*attribute.name);
                theirs < (kind, name.len(), name)
            };
            let place = all.partition_point(order);
            all.insert(place, Attribute { kind, name: name.into(), value: value.into() });
        }
        meta.put_extended(node.inode, &mut inode, &all)?;
        inode.changed = now;
        Ok(meta.put_inode(node.inode, &inode)?)
    }
}

impl<K: Kernel> Meta<'_, K> {
    /// The block of an inode's attributes, which begins as one does.
    fn extended_block(&mut self, inode: &Inode) -> Result<&[u8], Errno> {
        let found = self.block(inode.attributes).map(|block| get32(block, 0) == MAGIC);
        if found == Ok(false) {
            return Err(self.damaged());
        }
        self.block(inode.attributes)
    }

    fn extended_of(&mut self, inode: &Inode) -> Result<Vec<Attribute>, Errno> {
        if inode.attributes == 0 { Ok(Vec::new()) } else { parse(self.extended_block(inode)?) }
    }

    /// Gives an inode these attributes. It is put back by the caller.
    fn put_extended(
        &mut self,
        number: u32,
        inode: &mut Inode,
        all: &[Attribute],
    ) -> Result<(), Errno> {
        if all.is_empty() {
            self.free_extended(inode);
            return Ok(());
        }
        let bytes = block_of(all, self.disk().block_size).ok_or(Errno::NoSpace)?;
        let is_own = inode.attributes != 0 && get32(self.extended_block(inode)?, 4) <= 1;
        if !is_own {
            let goal = self.goal(number, inode, 0);
            let block = self.take_block(goal, Room::Free)?;
            self.free_extended(inode);
            inode.attributes = block;
            inode.sectors += self.disk().sectors();
        }
        self.put(inode.attributes, bytes, Order::First);
        Ok(())
    }

    /// Gives the block of an inode's attributes back, which others may have, too.
    pub(crate) fn free_extended(&mut self, inode: &mut Inode) {
        if inode.attributes == 0 {
            return;
        }
        let owners = self.extended_block(inode).map(|bytes| get32(bytes, 4));
        let block = core::mem::take(&mut inode.attributes);
        match owners {
            // What is wrong was told.
            Err(_) => return,
            Ok(..=1) => self.free_block(block),
            Ok(owners) => {
                if let Ok(bytes) = self.change(block, Order::First) {
                    set32(bytes, 4, owners - 1);
                }
            }
        }
        inode.sectors = inode.sectors.saturating_sub(self.disk().sectors());
    }
}
