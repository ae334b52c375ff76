//! DL4: a faulting copy inside a read section, for which a grace period would have to wait.
use faultless::prelude::*;

fn dl4<K: Kernel, U: UserMemory<Token = MayFault>>(
    inode: &Inode<K>,
    user: &U,
    token: &mut MayFault,
    target: UserSlice,
) {
    let section = inode.mapping().read_section(token.page_locks());
    let _ = copy_to_user(user, token, target, &[0; 64]);
    drop(section);
}

fn main() {}
