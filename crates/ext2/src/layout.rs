//! What stands where on the disk: the superblock, group descriptors, inodes and directory entries.
//! All numbers are little-endian. Nothing is read or written here.
#![forbid(unsafe_code)]

use faultless::prelude::Errno;

/// Where the superblock is on the device, in bytes.
pub(crate) const SUPERBLOCK: u64 = 1024;
/// Its length.
pub(crate) const SUPERBLOCK_LEN: usize = 1024;
/// The inode of the root directory.
pub(crate) const ROOT: u32 = 2;
/// Blocks that an inode points to itself.
pub(crate) const DIRECT: u32 = 12;
/// Pointers in an inode: the direct ones, and one for each level of indirect blocks.
pub(crate) const POINTERS: usize = 15;
/// The longest name.
pub(crate) const NAME_MAX: usize = 255;
/// The most names of an inode.
pub(crate) const LINK_MAX: u16 = 32_000;
/// The longest target of a symbolic link that stands in its inode.
pub(crate) const FAST_LINK: usize = POINTERS * 4 - 1;

const MAGIC: u16 = 0xef53;
const COMPAT_EXTENDED: u32 = 8;
const INCOMPAT_FILETYPE: u32 = 2;
const RO_SPARSE_SUPER: u32 = 1;
const RO_LARGE_FILE: u32 = 2;
/// The directory has an index that only linear readers can ignore.
pub(crate) const FLAG_INDEX: u32 = 0x1000;

/// The flags of an inode that programs see, and those that they can change.
pub(crate) const SHOWN_FLAGS: u32 = 0x0003_dfff;
pub(crate) const CHANGED_FLAGS: u32 = 0x0003_80ff;
/// The flags of a directory that what is made in it has, too.
pub(crate) const INHERITED_FLAGS: u32 = 0x0001_c6cf;
/// Those that directories alone have, and those that all kinds of inodes have.
const DIRECTORY_FLAGS: u32 = 0x0003_0000;
const OTHER_FLAGS: u32 = 0x0000_00c0;

const DESCRIPTOR: usize = 32;
/// Bytes behind the first 128 of an inode that this crate uses, if they are there.
const EXTRA: usize = 32;
/// Bytes of an inode that each revision has.
const OLD_INODE: usize = 128;

const NS: i64 = 1_000_000_000;

pub(crate) fn get16(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

pub(crate) fn get32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

pub(crate) fn set16(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
}

pub(crate) fn set32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

/// What the superblock says and does not change.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Geometry {
    pub(crate) block_size: usize,
    pub(crate) blocks: u32,
    pub(crate) inodes: u32,
    pub(crate) first_block: u32,
    pub(crate) blocks_per_group: u32,
    pub(crate) inodes_per_group: u32,
    pub(crate) inode_size: usize,
    pub(crate) first_inode: u32,
    /// Blocks that are kept for root.
    pub(crate) root_blocks: u32,
    pub(crate) groups: u32,
    pub(crate) has_large_files: bool,
    /// It was made with extended attributes.
    pub(crate) has_extended: bool,
    /// It has features that allow reading alone.
    pub(crate) is_read_only: bool,
    pub(crate) was_clean: bool,
}

impl Geometry {
    /// Reads the superblock.
    ///
    /// # Errors
    /// [`Errno::Invalid`]: not an ext2 file system; [`Errno::NotSupported`]: it has features that
    /// forbid reading it, or sizes that this crate does not know; [`Errno::Io`]: it contradicts
    /// itself, or the device of `device_size` bytes.
    pub(crate) fn parse(sb: &[u8], device_size: u64) -> Result<Self, Errno> {
        if get16(sb, 56) != MAGIC {
            return Err(Errno::Invalid);
        }
        let (log, revision) = (get32(sb, 24), get32(sb, 76));
        let (incompat, ro_compat) = (get32(sb, 96), get32(sb, 100));
        let inode_size = usize::from(get16(sb, 88));
        let known_size = inode_size == 128 || inode_size == 256;
        if revision != 1 || log > 2 || incompat != INCOMPAT_FILETYPE || !known_size {
            return Err(Errno::NotSupported);
        }
        let disk = Self {
            block_size: 1024 << log,
            blocks: get32(sb, 4),
            inodes: get32(sb, 0),
            first_block: get32(sb, 20),
            blocks_per_group: get32(sb, 32),
            inodes_per_group: get32(sb, 40),
            inode_size,
            first_inode: get32(sb, 84),
            root_blocks: get32(sb, 8),
            groups: 0,
            has_large_files: ro_compat & RO_LARGE_FILE != 0,
            has_extended: get32(sb, 92) & COMPAT_EXTENDED != 0,
            is_read_only: ro_compat & !(RO_SPARSE_SUPER | RO_LARGE_FILE) != 0,
            was_clean: get16(sb, 58) & 1 != 0,
        };
        disk.checked(device_size).ok_or(Errno::Io)
    }

    /// The same with the number of groups; `None` if the numbers contradict each other.
    fn checked(mut self, device_size: u64) -> Option<Self> {
        let bits = self.block_size as u32 * 8;
        let per_block = (self.block_size / self.inode_size) as u32;
        let in_bitmap = |count: u32| count > 0 && count <= bits;
        let first = u32::from(self.block_size == 1024);
        let sound = in_bitmap(self.blocks_per_group)
            && in_bitmap(self.inodes_per_group)
            && self.inodes_per_group.is_multiple_of(per_block)
            && self.first_block == first
            && self.blocks > first
            && u64::from(self.blocks) * self.block_size as u64 <= device_size
            && (11..self.inodes).contains(&self.first_inode);
        if !sound {
            return None;
        }
        self.groups = (self.blocks - first).div_ceil(self.blocks_per_group);
        let inodes = self.groups.checked_mul(self.inodes_per_group)?;
        (inodes == self.inodes && self.descriptor_end() <= self.blocks).then_some(self)
    }

    /// The block of the superblock, and where in it.
    pub(crate) const fn superblock_place(&self) -> (u32, usize) {
        (self.first_block, if self.first_block == 0 { SUPERBLOCK as usize } else { 0 })
    }

    /// The block of a group's descriptor, and where in it.
    pub(crate) const fn descriptor_place(&self, group: u32) -> (u32, usize) {
        let per_block = self.block_size / DESCRIPTOR;
        let (block, at) = (group as usize / per_block, group as usize % per_block);
        (self.first_block + 1 + block as u32, at * DESCRIPTOR)
    }

    /// The block behind the group descriptors.
    const fn descriptor_end(&self) -> u32 {
        self.descriptor_place(self.groups - 1).0 + 1
    }

    /// Blocks of a group's inode table.
    pub(crate) const fn table_blocks(&self) -> u32 {
        self.inodes_per_group / (self.block_size / self.inode_size) as u32
    }

    /// Blocks of a group; the last one may have fewer than the others.
    pub(crate) fn blocks_in(&self, group: u32) -> u32 {
        (self.blocks - self.first_block_of(group)).min(self.blocks_per_group)
    }

    pub(crate) const fn first_block_of(&self, group: u32) -> u32 {
        self.first_block + group * self.blocks_per_group
    }

    /// Pointers in an indirect block.
    pub(crate) const fn pointers(&self) -> u64 {
        self.block_size as u64 / 4
    }

    /// How many blocks a file can have.
    pub(crate) const fn max_blocks(&self) -> u64 {
        let per_block = self.pointers();
        DIRECT as u64 + per_block + per_block * per_block + per_block * per_block * per_block
    }

    /// The largest size of a file: its blocks are counted in 32 bits of 512 bytes.
    pub(crate) fn max_size(&self) -> u64 {
        let counted = u64::from(u32::MAX) * 512 / 2;
        let size = (self.max_blocks() * self.block_size as u64).min(counted);
        if self.has_large_files { size } else { size.min(0x7fff_ffff) }
    }

    /// Units of 512 bytes in a block.
    pub(crate) const fn sectors(&self) -> u32 {
        (self.block_size / 512) as u32
    }
}

/// A group of blocks and inodes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Group {
    pub(crate) block_bitmap: u32,
    pub(crate) inode_bitmap: u32,
    pub(crate) inode_table: u32,
    pub(crate) free_blocks: u16,
    pub(crate) free_inodes: u16,
    pub(crate) directories: u16,
}

impl Group {
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        Self {
            block_bitmap: get32(bytes, 0),
            inode_bitmap: get32(bytes, 4),
            inode_table: get32(bytes, 8),
            free_blocks: get16(bytes, 12),
            free_inodes: get16(bytes, 14),
            directories: get16(bytes, 16),
        }
    }

    pub(crate) fn write_counts(&self, bytes: &mut [u8]) {
        set16(bytes, 12, self.free_blocks);
        set16(bytes, 14, self.free_inodes);
        set16(bytes, 16, self.directories);
    }

    /// Whether a block of the group has a fixed use.
    pub(crate) fn uses(&self, block: u32, disk: &Geometry) -> bool {
        let table = self.inode_table..self.inode_table.saturating_add(disk.table_blocks());
        block == self.block_bitmap || block == self.inode_bitmap || table.contains(&block)
    }
}

/// An inode. Bytes of it that are not here stay as they are.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Inode {
    pub(crate) mode: u16,
    pub(crate) links: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) size: u64,
    /// Times are nanoseconds since 1970.
    pub(crate) accessed: u64,
    pub(crate) changed: u64,
    pub(crate) modified: u64,
    /// Seconds.
    pub(crate) deleted: u32,
    /// Blocks in units of 512 bytes, indirect ones too.
    pub(crate) sectors: u32,
    pub(crate) flags: u32,
    pub(crate) pointers: [u32; POINTERS],
    pub(crate) attributes: u32,
}

const TYPE: u16 = 0o170_000;
pub(crate) const REGULAR: u16 = 0o100_000;
pub(crate) const DIRECTORY: u16 = 0o040_000;
pub(crate) const LINK: u16 = 0o120_000;
const FIFO: u16 = 0o010_000;
const CHARACTERS: u16 = 0o020_000;
const BLOCKS: u16 = 0o060_000;
const SOCKET: u16 = 0o140_000;

/// Device numbers below stand in the first pointer, as the oldest ext2 has them; others in the
/// second one.
const OLD_DEVICES: u32 = 1 << 16;

impl Inode {
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let mut pointers = [0; POINTERS];
        for (at, pointer) in pointers.iter_mut().enumerate() {
            *pointer = get32(bytes, 40 + 4 * at);
        }
        let mode = get16(bytes, 0);
        let high = if mode & TYPE == REGULAR { get32(bytes, 108) } else { 0 };
        let both = |low: usize, high: usize| {
            u32::from(get16(bytes, low)) | u32::from(get16(bytes, high)) << 16
        };
        Self {
            mode,
            links: get16(bytes, 26),
            uid: both(2, 120),
            gid: both(24, 122),
            size: u64::from(get32(bytes, 4)) | u64::from(high) << 32,
            accessed: time(bytes, 8, 140),
            changed: time(bytes, 12, 132),
            modified: time(bytes, 16, 136),
            deleted: get32(bytes, 20),
            sectors: get32(bytes, 28),
            flags: get32(bytes, 32),
            pointers,
            attributes: get32(bytes, 104),
        }
    }

    pub(crate) fn write(&self, bytes: &mut [u8]) {
        set16(bytes, 0, self.mode);
        set16(bytes, 2, self.uid as u16);
        set32(bytes, 4, self.size as u32);
        set_time(bytes, 8, 140, self.accessed);
        set_time(bytes, 12, 132, self.changed);
        set_time(bytes, 16, 136, self.modified);
        set32(bytes, 20, self.deleted);
        set16(bytes, 24, self.gid as u16);
        set16(bytes, 26, self.links);
        set32(bytes, 28, self.sectors);
        set32(bytes, 32, self.flags);
        for (at, pointer) in self.pointers.iter().enumerate() {
            set32(bytes, 40 + 4 * at, *pointer);
        }
        set32(bytes, 104, self.attributes);
        if self.mode & TYPE == REGULAR {
            set32(bytes, 108, (self.size >> 32) as u32);
        }
        set16(bytes, 120, (self.uid >> 16) as u16);
        set16(bytes, 122, (self.gid >> 16) as u16);
    }

    /// Makes the bytes of a new inode all zero, with room for fine times if there is any.
    pub(crate) fn clear(bytes: &mut [u8]) {
        bytes.fill(0);
        if bytes.len() > OLD_INODE {
            set16(bytes, OLD_INODE, EXTRA as u16);
        }
    }

    pub(crate) const fn kind(&self) -> Option<Kind> {
        match self.mode & TYPE {
            REGULAR => Some(Kind::File),
            DIRECTORY => Some(Kind::Directory),
            LINK => Some(Kind::Link),
            FIFO => Some(Kind::Fifo),
            CHARACTERS => Some(Kind::Characters),
            BLOCKS => Some(Kind::Blocks),
            SOCKET => Some(Kind::Socket),
            _ => None,
        }
    }

    /// Whether its pointers lead to blocks: in other nodes they are something else.
    pub(crate) fn has_blocks(&self) -> bool {
        let kinds = [Kind::File, Kind::Directory, Kind::Link];
        self.kind().is_some_and(|kind| kinds.contains(&kind)) && !self.is_fast_link()
    }

    /// The number of its device; 0 for what is none.
    pub(crate) fn device(&self) -> u32 {
        match self.kind() {
            Some(Kind::Characters | Kind::Blocks) if self.pointers[0] != 0 => self.pointers[0],
            Some(Kind::Characters | Kind::Blocks) => self.pointers[1],
            _ => 0,
        }
    }

    pub(crate) fn set_device(&mut self, device: u32) {
        self.pointers[usize::from(device >= OLD_DEVICES)] = device;
    }

    pub(crate) fn is_directory(&self) -> bool {
        self.kind() == Some(Kind::Directory)
    }

    /// Whether it is a symbolic link whose target stands in place of the pointers.
    pub(crate) fn is_fast_link(&self) -> bool {
        self.kind() == Some(Kind::Link) && self.size <= FAST_LINK as u64
    }
}

/// Whether the inode has the 4 bytes at `at`, behind its first 128.
fn has_extra(bytes: &[u8], at: usize) -> bool {
    bytes.len() > OLD_INODE && usize::from(get16(bytes, OLD_INODE)) + OLD_INODE >= at + 4
}

/// A time in nanoseconds, as a signed number: the low word counts from 1970 on, or back, and the
/// bits behind 128 bytes add whole rounds of it.
fn time(bytes: &[u8], at: usize, extra_at: usize) -> u64 {
    let low = i64::from(get32(bytes, at).cast_signed());
    let extra = if has_extra(bytes, extra_at) { get32(bytes, extra_at) } else { 0 };
    let seconds = low + (i64::from(extra & 3) << 32);
    let fraction = i64::from(extra >> 2).min(NS - 1);
    seconds.saturating_mul(NS).saturating_add(fraction) as u64
}

fn set_time(bytes: &mut [u8], at: usize, extra_at: usize, time: u64) {
    let time = time.cast_signed();
    let has_extra = has_extra(bytes, extra_at);
    let largest = if has_extra { i64::MAX } else { i32::MAX.into() };
    let seconds = time.div_euclid(NS).clamp(i32::MIN.into(), largest);
    let low = seconds as i32;
    set32(bytes, at, low.cast_unsigned());
    if has_extra {
        let rounds = ((seconds - i64::from(low)) >> 32) as u32;
        set32(bytes, extra_at, (time.rem_euclid(NS) as u32) << 2 | rounds & 3);
    }
}

/// What an inode is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// A FIFO.
    Fifo,
    /// A socket.
    Socket,
    /// A device that moves bytes.
    Characters,
    /// A device that moves blocks.
    Blocks,
}

impl Kind {
    /// The type bits of `st_mode`.
    #[must_use]
    pub const fn mode_bits(self) -> u32 {
        match self {
            Self::File => REGULAR as u32,
            Self::Directory => DIRECTORY as u32,
            Self::Link => LINK as u32,
            Self::Fifo => FIFO as u32,
            Self::Socket => SOCKET as u32,
            Self::Characters => CHARACTERS as u32,
            Self::Blocks => BLOCKS as u32,
        }
    }

    /// The flags that such an inode can have.
    pub(crate) const fn flags(self) -> u32 {
        match self {
            Self::Directory => u32::MAX,
            Self::File => !DIRECTORY_FLAGS,
            _ => OTHER_FLAGS,
        }
    }

    pub(crate) const fn entry_type(self) -> u8 {
        match self {
            Self::File => 1,
            Self::Directory => 2,
            Self::Characters => 3,
            Self::Blocks => 4,
            Self::Fifo => 5,
            Self::Socket => 6,
            Self::Link => 7,
        }
    }

    pub(crate) const fn from_entry_type(entry_type: u8) -> Option<Self> {
        match entry_type {
            1 => Some(Self::File),
            2 => Some(Self::Directory),
            3 => Some(Self::Characters),
            4 => Some(Self::Blocks),
            5 => Some(Self::Fifo),
            6 => Some(Self::Socket),
            7 => Some(Self::Link),
            _ => None,
        }
    }
}

/// An entry of a directory's block, in use or not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<'b> {
    /// Where in the block.
    pub(crate) at: usize,
    /// Bytes up to the next entry.
    pub(crate) len: usize,
    /// 0 if it is not in use.
    pub(crate) inode: u32,
    pub(crate) entry_type: u8,
    pub(crate) name: &'b [u8],
}

impl<'b> Entry<'b> {
    /// The entry at `at` of a block.
    ///
    /// # Errors
    /// [`Errno::Io`]: there is none that fits.
    pub(crate) fn parse(block: &'b [u8], at: usize) -> Result<Self, Errno> {
        if at + 8 > block.len() {
            return Err(Errno::Io);
        }
        let len = usize::from(get16(block, at + 4));
        let name_len = usize::from(block[at + 6]);
        let fits = len.is_multiple_of(4) && len >= needed(name_len) && at + len <= block.len();
        if !fits {
            return Err(Errno::Io);
        }
        let name = &block[at + 8..at + 8 + name_len];
        Ok(Self { at, len, inode: get32(block, at), entry_type: block[at + 7], name })
    }

    /// Bytes that it uses.
    pub(crate) const fn used(&self) -> usize {
        if self.inode == 0 { 0 } else { needed(self.name.len()) }
    }
}

/// Bytes of an entry with a name of that length.
pub(crate) const fn needed(name_len: usize) -> usize {
    (8 + name_len).next_multiple_of(4)
}

/// Writes an entry of `len` bytes.
pub(crate) fn write_entry(
    block: &mut [u8],
    (at, len): (usize, usize),
    (inode, kind): (u32, Kind),
    name: &[u8],
) {
    set32(block, at, inode);
    set16(block, at + 4, len as u16);
    block[at + 6] = name.len() as u8;
    block[at + 7] = kind.entry_type();
    block[at + 8..at + 8 + name.len()].copy_from_slice(name);
}

/// The entries of a directory's block, front to back. One that does not fit is [`Errno::Io`], and
/// the last.
pub(crate) fn entries(block: &[u8]) -> impl Iterator<Item = Result<Entry<'_>, Errno>> {
    let mut at = 0;
    core::iter::from_fn(move || {
        if at >= block.len() {
            return None;
        }
        let entry = Entry::parse(block, at);
        at = entry.map_or(block.len(), |entry| at + entry.len);
        Some(entry)
    })
}
