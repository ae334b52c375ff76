//! Memory of the library's that Linux is lent for results of calls.
#![forbid(unsafe_code)]

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// How many bytes of a result there are.
#[derive(Clone, Copy)]
pub(crate) enum Amount {
    /// All of them.
    All,
    /// The call returns how many units of so many bytes there are.
    Result(usize),
    /// The call returns how many there are, with so many before.
    Rest(usize),
    /// It is a message header: what Linux sets in it, but for the pointers.
    Header,
    /// The header says so at this offset.
    In(usize),
    /// Another argument points to the number, which Linux changes.
    At(usize),
}

/// A result of a call: where it goes, and the memory that Linux puts it in.
pub(crate) struct Loan {
    pub(crate) to: usize,
    pub(crate) bytes: Vec<u8>,
    pub(crate) amount: Amount,
}

/// What calls of a process have been lent, by number.
pub(crate) type Loans = BTreeMap<u64, Vec<Loan>>;
