//! One token a system call: a copy would undo the borrow.
use faultless::prelude::*;

fn duplicate(token: &MayFault) -> MayFault {
    token.clone()
}

fn main() {}
