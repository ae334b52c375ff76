//! One token a system call: a copy would undo the borrow.
use faultless::prelude::*;

fn duplicate(may: &MayFault) -> MayFault {
    may.clone()
}

fn main() {}
