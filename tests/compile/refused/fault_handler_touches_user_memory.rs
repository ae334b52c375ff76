//! The fault handler's token does not lead to user memory.
use faultless::prelude::*;

fn handler<U: UserMemory<Token = MayFault>>(user: &U, fault: &mut InFault, source: UserSlice) {
    let mut bytes = [0; 64];
    let _ = copy_from_user(user, fault, &mut bytes, source);
}

fn main() {}
