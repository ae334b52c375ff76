//! What the objects of System V have in common that programs find by numbers: keys, owners, modes.
#![forbid(unsafe_code)]

use alloc::collections::BTreeMap;

use faultless_posix::Errno;

use crate::calls::call::{Call, Outcome};
use crate::credentials::allowed;
use crate::memory::get;
use crate::sched;
use crate::sync::{Guard, Lock};
use crate::task::credentials;

/// The key of an object that has none.
pub(super) const PRIVATE: u32 = 0;

/// Flags of the calls that make or find one.
pub(super) const CREATE: u32 = 0o1000;
pub(super) const EXCLUSIVE: u32 = 0o2000;
pub(super) const NO_WAIT: u32 = 0o4000;

/// Commands that all kinds know.
pub(super) const REMOVE: u32 = 0;
pub(super) const SET: u32 = 1;
pub(super) const STATUS: u32 = 2;
pub(super) const LIMITS: u32 = 3;

/// Whose an object is, and who may do what with it (`struct ipc_perm`).
#[derive(Clone, Copy, Debug)]
pub(super) struct Owned {
    pub(super) key: u32,
    /// A user and a group.
    owner: (u32, u32),
    creator: (u32, u32),
    pub(super) mode: u32,
}

impl Owned {
    /// The caller's, with the mode that the flags of the call say.
    pub(super) fn new(key: u32, flags: u32) -> Self {
        let own = credentials();
        let owner = (own.user.effective, own.group.effective);
        Self { key, owner, creator: owner, mode: flags & 0o777 }
    }

    /// What a call comes to that makes or finds an object, which is there already and has room for
    /// `has`, if it asks for `wanted`.
    ///
    /// # Errors
    /// `EEXIST`; `EINVAL`: it asks for more; `EACCES`.
    pub(super) fn find(&self, flags: u32, has: usize, wanted: usize) -> Result<(), Errno> {
        if flags & (CREATE | EXCLUSIVE) == CREATE | EXCLUSIVE {
            return Err(Errno::EXIST);
        }
        if wanted > has {
            return Err(Errno::INVAL);
        }
        self.need(flags >> 6 & 7 | flags >> 3 & 7 | flags & 7)
    }

    /// Checks that the caller may do what the bits say.
    ///
    /// # Errors
    /// `EACCES`.
    pub(super) fn need(&self, wanted: u32) -> Result<(), Errno> {
        let own = credentials();
        let has_group = |group| own.group.effective == group || own.groups.contains(&group);
        let is_in = |group| has_group(group) || has_group(self.creator.1);
        let user = own.user.effective;
        let owner = if user == self.creator.0 { user } else { self.owner.0 };
        let bits = allowed(self.mode, (owner, self.owner.1), user, is_in);
        if own.is_root() || wanted & !bits == 0 { Ok(()) } else { Err(Errno::ACCES) }
    }

    /// Checks that it is the caller's.
    ///
    /// # Errors
    /// `EPERM`.
    pub(super) fn need_owner(&self) -> Result<(), Errno> {
        let own = credentials();
        let is_own = [self.owner.0, self.creator.0].contains(&own.user.effective);
        if own.is_root() || is_own { Ok(()) } else { Err(Errno::PERM) }
    }

    /// `IPC_SET`: gives it away, and changes its mode.
    ///
    /// # Errors
    /// `EPERM`.
    pub(super) fn set(&mut self, new: New) -> Result<(), Errno> {
        self.need_owner()?;
        self.owner = new.owner;
        self.mode = self.mode & !0o777 | new.mode & 0o777;
        Ok(())
    }

    /// The words of a `struct ipc_perm`.
    pub(super) fn words(&self) -> [u64; 6] {
        let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        let ((uid, gid), (creator, creator_group)) = (self.owner, self.creator);
        [pair(self.key, uid), pair(gid, creator), pair(creator_group, self.mode), 0, 0, 0]
    }
}

/// An object of System V.
pub(super) trait Object {
    /// Whose it is.
    fn owned(&self) -> &Owned;

    /// How much it holds, where a caller says how much it needs.
    fn len(&self) -> usize {
        0
    }
}

/// The objects of a kind, by their numbers, behind a short lock.
pub(super) struct Objects<T>(Lock<BTreeMap<u32, T>>);

impl<T: Object> Objects<T> {
    pub(super) const fn new() -> Self {
        Self(Lock::new(BTreeMap::new()))
    }

    pub(super) fn lock(&self) -> Guard<'_, BTreeMap<u32, T>> {
        self.0.lock()
    }

    /// Calls `body` with an object.
    ///
    /// # Errors
    /// `EINVAL`: there is none; those of `body`.
    pub(super) fn with<R>(
        &self,
        number: u32,
        body: impl FnOnce(&mut T) -> Result<R, Errno>,
    ) -> Result<R, Errno> {
        body(self.lock().get_mut(&number).ok_or(Errno::INVAL)?)
    }

    /// The number of the object with a key, if it has to be there or is; `None` for one to be made.
    ///
    /// # Errors
    /// `ENOENT`; those of [`Owned::find`], for `wanted` of its room.
    pub(super) fn find(&self, key: u32, flags: u32, wanted: usize) -> Result<Option<u32>, Errno> {
        find(&self.lock(), key, flags, wanted)
    }

    /// Adds an object, unless another caller has made one with its key meanwhile, which is found in
    /// its place. What is not added is dropped with the lock free.
    ///
    /// # Errors
    /// `ENOSPC`: there are `most`; those of [`find`](Self::find).
    pub(super) fn add(&self, made: T, flags: u32, wanted: usize, most: usize) -> Outcome {
        let mut objects = self.lock();
        if let Some(number) = find(&objects, made.owned().key, flags, wanted)? {
            return Ok(number as usize);
        }
        if objects.len() >= most {
            return Err(Errno::NOSPC);
        }
        let number = sched::next_number();
        objects.insert(number, made);
        Ok(number as usize)
    }

    /// Takes an object out.
    ///
    /// # Errors
    /// `EINVAL`: there is none; `EPERM`: it is not the caller's.
    pub(super) fn remove(&self, number: u32) -> Result<Option<T>, Errno> {
        let mut objects = self.lock();
        objects.get(&number).ok_or(Errno::INVAL)?.owned().need_owner()?;
        Ok(objects.remove(&number))
    }

    /// What `tell` says of the object at a place among all of them, and its number.
    ///
    /// # Errors
    /// `EINVAL`: there is none; `EACCES`: the caller may not do with it what the bits say.
    pub(super) fn at<R>(
        &self,
        place: u32,
        wanted: u32,
        tell: impl FnOnce(&T) -> R,
    ) -> Result<(usize, R), Errno> {
        let objects = self.lock();
        let (number, object) = objects.iter().nth(place as usize).ok_or(Errno::INVAL)?;
        object.owned().need(wanted)?;
        Ok((*number as usize, tell(object)))
    }
}

fn find<T: Object>(
    objects: &BTreeMap<u32, T>,
    key: u32,
    flags: u32,
    wanted: usize,
) -> Result<Option<u32>, Errno> {
    if key == PRIVATE {
        return Ok(None);
    }
    match objects.iter().find(|(_, object)| object.owned().key == key) {
        Some((number, object)) => {
            object.owned().find(flags, object.len(), wanted).map(|()| Some(*number))
        }
        None if flags & CREATE == 0 => Err(Errno::NOENT),
        None => Ok(None),
    }
}

/// What `IPC_SET` sets.
#[derive(Clone, Copy)]
pub(super) struct New {
    owner: (u32, u32),
    mode: u32,
}

impl New {
    /// From a program's `struct ipc_perm`.
    ///
    /// # Errors
    /// `EFAULT`.
    pub(super) fn get(call: &mut Call<'_>, at: usize) -> Result<Self, Errno> {
        let mut words = [[0; 4]; 6];
        get(&mut call.token, at, words.as_flattened_mut())?;
        let [_, user, group, _, _, mode] = words.map(u32::from_ne_bytes);
        Ok(Self { owner: (user, group), mode })
    }
}
