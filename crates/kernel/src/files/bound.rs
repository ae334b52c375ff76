//! Names of sockets: nodes of a file system, and names of their own (abstract ones).
#![forbid(unsafe_code)]

use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;

use faultless_posix::{Errno, Follow, Kind};

use crate::credentials::WRITE;
use crate::files::change::make;
use crate::files::directory::Directory;
use crate::files::file::{File, OpenFile};
use crate::files::names::look_up;
use crate::files::vnode::{Handle, New};
use crate::sync::Lock;
use crate::task::credentials;

/// What leads to a socket.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Abstract(Vec<u8>),
    /// The number of a node.
    Node((u64, u64)),
}

static SOCKETS: Lock<BTreeMap<Key, Weak<dyn File>>> = Lock::new(BTreeMap::new());

/// The name of a socket, if it has one, until it goes.
pub(crate) struct Name(Lock<Option<Arc<Bound>>>);

impl Name {
    /// No name yet.
    pub(super) fn none() -> Self {
        Self(Lock::new(None))
    }

    /// `bind`: gives `socket`, whose name this is, this address.
    ///
    /// # Errors
    /// `EINVAL` if it has one; those of [`bind`].
    pub(crate) fn bind(
        &self,
        at: &Directory,
        address: &[u8],
        mode: u32,
        socket: &OpenFile,
    ) -> Result<(), Errno> {
        if self.0.lock().is_some() {
            return Err(Errno::INVAL);
        }
        let bound = bind(at, address, mode, socket)?;
        *self.0.lock() = Some(bound);
        Ok(())
    }

    /// What `getsockname` tells: a path ends with a 0.
    pub(crate) fn address(&self) -> Option<Vec<u8>> {
        self.0.lock().as_ref().map(|bound| bound.address.clone())
    }

    /// Takes the name of another socket, which has it, too.
    pub(super) fn share(&self, other: &Self) {
        *self.0.lock() = other.0.lock().clone();
    }
}

/// What a name is.
struct Bound {
    key: Key,
    /// As `sockaddr_un` has it.
    address: Vec<u8>,
    socket: Weak<dyn File>,
    /// The node, whose number is not used again.
    _node: Option<Handle>,
}

impl Drop for Bound {
    fn drop(&mut self) {
        // The sides of accepted connections have it after the one that listened, and meanwhile
        // another socket may have got it.
        let mut sockets = SOCKETS.lock();
        if sockets.get(&self.key).is_some_and(|socket| socket.ptr_eq(&self.socket)) {
            sockets.remove(&self.key);
        }
    }
}

fn is_abstract(address: &[u8]) -> bool {
    address.first() == Some(&0)
}

/// Gives a socket a name. A path gets a node of this mode.
///
/// # Errors
/// `EADDRINUSE`; those of `mknod`.
fn bind(at: &Directory, address: &[u8], mode: u32, socket: &OpenFile) -> Result<Arc<Bound>, Errno> {
    let (key, address, node) = if is_abstract(address) {
        (Key::Abstract(address.to_vec()), address.to_vec(), None)
    } else {
        match make(at, address, New::Special(Kind::Socket, 0, mode)) {
            Err(Errno::EXIST) => return Err(Errno::ADDRINUSE),
            made => made?,
        }
        let node = look_up(at, address, Follow::NotLast)?;
        (Key::Node(node.id()), [address, b"\0"].concat(), Some(node))
    };
    let socket = Arc::downgrade(socket);
    {
        let mut sockets = SOCKETS.lock();
        if sockets.get(&key).is_some_and(|other| other.strong_count() > 0) {
            return Err(Errno::ADDRINUSE);
        }
        sockets.insert(key.clone(), socket.clone());
    }
    Ok(Arc::new(Bound { key, address, socket, _node: node }))
}

/// The socket with a name.
///
/// # Errors
/// `ECONNREFUSED`: there is none; `EACCES`; those of a path.
pub(crate) fn find(at: &Directory, address: &[u8]) -> Result<OpenFile, Errno> {
    let key = if is_abstract(address) {
        Key::Abstract(address.to_vec())
    } else {
        let node = look_up(at, address, Follow::Last)?;
        credentials().need(&node.attributes()?.status, WRITE)?;
        if node.kind() != Kind::Socket {
            return Err(Errno::CONNREFUSED);
        }
        Key::Node(node.id())
    };
    let found = SOCKETS.lock().get(&key).and_then(Weak::upgrade);
    found.ok_or(Errno::CONNREFUSED)
}
