//! `renameat2`.
//!
//! # What is seen meanwhile
//! A walk takes no lock of the tree. In a rename inside one directory it sees the old names or the
//! new ones. In one between directories it may, for a moment, see the node under both names; it
//! never sees a name that is replaced missing.
//!
//! # Time
//! With the tree locked, a rename of or over a directory between two directories looks at every
//! ancestor of these.
#![forbid(unsafe_code)]

use alloc::sync::Arc;

use faultless::page::Spin;
use linux_raw_sys::general as linux;

use crate::errno::Errno;
use crate::names::node::{Caller, Node, Place};
use crate::names::tree::Tree;
use crate::names::walk::{Last, Slash, Walk};
use crate::system::System;

/// What becomes of a node that has the new name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    /// It loses the name.
    Replace,
    /// There must be none (`RENAME_NOREPLACE`).
    Free,
    /// It gets the old name (`RENAME_EXCHANGE`).
    Exchange,
}

/// One of the two names.
struct End<'e, S: System> {
    parent: &'e Arc<Node<S>>,
    name: Arc<[u8]>,
    slash: Slash,
}

/// The handles that a rename must not drop with the tree locked.
type Handles<S> = (Arc<Node<S>>, [Option<Arc<Node<S>>>; 2]);

impl Target {
    /// What the flags of `renameat2` say.
    ///
    /// # Errors
    /// `EINVAL` for those that contradict each other, and for unknown ones: `RENAME_WHITEOUT` is
    /// one.
    const fn from_flags(flags: u32) -> Result<Self, Errno> {
        match flags {
            0 => Ok(Self::Replace),
            linux::RENAME_NOREPLACE => Ok(Self::Free),
            linux::RENAME_EXCHANGE => Ok(Self::Exchange),
            _ => Err(Errno::INVAL),
        }
    }
}

impl<S: System> Tree<S> {
    /// `renameat2` of the path `old`, from `old_at`, to `new`, from `new_at`. Names of one and the
    /// same node stay as they are.
    ///
    /// # Errors
    /// `EBUSY` for `.`, `..` and the root; `EEXIST` with `RENAME_NOREPLACE`; `EINVAL` for a
    /// directory that would come into itself; `ENOTEMPTY`, `EISDIR` and `ENOTDIR` for a target that
    /// cannot be replaced; `EXDEV` if one of the directories is of another tree; those of the
    /// paths.
    pub fn rename(
        &self,
        caller: &Caller,
        (old_at, old): (&Arc<Node<S>>, &[u8]),
        (new_at, new): (&Arc<Node<S>>, &[u8]),
        flags: u32,
    ) -> Result<(), Errno> {
        let how = Target::from_flags(flags)?;
        let mut old = Walk::new(self, old_at, old, caller.now)?;
        let old_last = old.reach_last()?;
        let mut new = Walk::new(self, new_at, new, caller.now)?;
        let new_last = new.reach_last()?;
        let old = End::new(&old, old_last).ok_or(Errno::BUSY)?;
        let not_a_name = if how == Target::Free { Errno::EXIST } else { Errno::BUSY };
        let new = End::new(&new, new_last).ok_or(not_a_name)?;
        let handles = {
            let _changes = self.changes.lock();
            // A failure drops handles here, of nodes that keep their names.
            Self::rename_locked(caller, &old, &new, how)?
        };
        drop(handles);
        Ok(())
    }

    fn rename_locked(
        caller: &Caller,
        old: &End<'_, S>,
        new: &End<'_, S>,
        how: Target,
    ) -> Result<Option<Handles<S>>, Errno> {
        let source = old.parent.get(&old.name)?.ok_or(Errno::NOENT)?;
        let target = new.parent.get(&new.name)?;
        match (how, &target) {
            (Target::Free, Some(_)) => return Err(Errno::EXIST),
            (Target::Exchange, None) => return Err(Errno::NOENT),
            _ => {}
        }
        check_slashes(old, new, &source, target.as_deref(), how)?;
        check_circles(old, new, &source, target.as_ref(), how)?;
        match target {
            Some(target) if Arc::ptr_eq(&source, &target) => Ok(None),
            Some(target) if how == Target::Exchange => {
                Self::exchange(caller, old, new, (&source, &target));
                Ok(Some((source, [Some(target), None])))
            }
            Some(target) => {
                check_replaced(&source, &target)?;
                let entries = Self::replace(caller, old, new, &source);
                target.lose_name(caller, new.parent);
                if target.is_directory() {
                    new.parent.state.lock().attributes.links -= 1;
                }
                drop(target);
                Ok(Some((source, entries)))
            }
            None => {
                let entries = Self::replace(caller, old, new, &source);
                Ok(Some((source, entries)))
            }
        }
    }

    /// Moves the source to its new name; the handles that the two names had.
    fn replace(
        caller: &Caller,
        old: &End<'_, S>,
        new: &End<'_, S>,
        source: &Arc<Node<S>>,
    ) -> [Option<Arc<Node<S>>>; 2] {
        let entries = if old.has_the_parent_of(new) {
            let mut parent = old.parent.state.lock();
            parent.stamp(caller.now);
            let replaced = parent.entries.set(&new.name, Arc::clone(source));
            [replaced, parent.entries.remove(&old.name)]
        } else {
            let replaced = new.set(caller, source);
            let mut parent = old.parent.state.lock();
            parent.stamp(caller.now);
            [replaced, parent.entries.remove(&old.name)]
        };
        if source.is_directory() {
            old.parent.state.lock().attributes.links -= 1;
            new.parent.state.lock().attributes.links += 1;
        }
        source.moved(caller, new);
        entries
    }

    /// Lets two nodes change names.
    fn exchange(
        caller: &Caller,
        old: &End<'_, S>,
        new: &End<'_, S>,
        (source, target): (&Arc<Node<S>>, &Arc<Node<S>>),
    ) {
        // The caller has a handle of both nodes, so that those of the names are not the last ones.
        if old.has_the_parent_of(new) {
            let mut parent = old.parent.state.lock();
            parent.stamp(caller.now);
            parent.entries.set(&new.name, Arc::clone(source));
            parent.entries.set(&old.name, Arc::clone(target));
        } else {
            new.set(caller, source);
            old.set(caller, target);
        }
        for (node, from, to) in [(source, old, new), (target, new, old)] {
            if node.is_directory() {
                from.parent.state.lock().attributes.links -= 1;
                to.parent.state.lock().attributes.links += 1;
            }
            node.moved(caller, to);
        }
    }
}

/// Checks that slashes stand behind names of directories only.
fn check_slashes<S: System>(
    old: &End<'_, S>,
    new: &End<'_, S>,
    source: &Node<S>,
    target: Option<&Node<S>>,
    how: Target,
) -> Result<(), Errno> {
    let becomes = if how == Target::Exchange { target } else { Some(source) };
    for (end, node) in [(new, becomes), (old, Some(source))] {
        if let (Slash::Behind, Some(node)) = (end.slash, node) {
            node.need_directory()?;
        }
    }
    Ok(())
}

/// Checks that no directory comes into itself.
fn check_circles<S: System>(
    old: &End<'_, S>,
    new: &End<'_, S>,
    source: &Arc<Node<S>>,
    target: Option<&Arc<Node<S>>>,
    how: Target,
) -> Result<(), Errno> {
    if old.has_the_parent_of(new) {
        return Ok(());
    }
    if source.is_above(new.parent) {
        return Err(Errno::INVAL);
    }
    if target.is_some_and(|target| target.is_above(old.parent)) {
        return Err(if how == Target::Exchange { Errno::INVAL } else { Errno::NOTEMPTY });
    }
    Ok(())
}

/// Checks that the source may take the target's name.
fn check_replaced<S: System>(source: &Node<S>, target: &Node<S>) -> Result<(), Errno> {
    match (source.is_directory(), target.is_directory()) {
        (true, false) => Err(Errno::NOTDIR),
        (false, true) => Err(Errno::ISDIR),
        (false, false) => Ok(()),
        (true, true) => target.need_empty(),
    }
}

impl<'e, S: System> End<'e, S> {
    /// The end of a walk; none if it is no name.
    fn new(walk: &'e Walk<'_, S>, last: Last) -> Option<Self> {
        let Last::Name(name, slash) = last else { return None };
        Some(Self { parent: &walk.current, name: walk.name(&name).into(), slash })
    }

    fn has_the_parent_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(self.parent, other.parent)
    }

    /// Gives the name to a node; the handle that it had.
    fn set(&self, caller: &Caller, node: &Arc<Node<S>>) -> Option<Arc<Node<S>>> {
        let mut parent = self.parent.state.lock();
        parent.stamp(caller.now);
        parent.entries.set(&self.name, Arc::clone(node))
    }
}

impl<S: System> Node<S> {
    /// Whether `node` is this directory or inside it. The tree is locked.
    fn is_above(self: &Arc<Self>, node: &Arc<Self>) -> bool {
        if !self.is_directory() {
            return false;
        }
        let mut at = Some(Arc::clone(node));
        while let Some(here) = at {
            if Arc::ptr_eq(self, &here) {
                return true;
            }
            // The handle of `here` is not the last one: what is below it, or a name, has another.
            at = here.parent();
        }
        false
    }

    /// Stamps a node that has a new name, where a directory finds its parent.
    fn moved(&self, caller: &Caller, to: &End<'_, S>) {
        let mut state = self.state.lock();
        state.attributes.changed = caller.now;
        if self.is_directory() {
            state.place = Place::named(to.parent, &to.name);
        }
    }
}
