//! Calls of Linux's with buffers in mappings of files: Linux cannot serve their faults.
#![forbid(unsafe_code)]

use faultless::prelude::{Access, UserAddr, UserMemory, UserSlice};
use syscalls::Sysno;

use crate::call::{Call, with_vector};

/// Brings in pages of files that Linux is to read or write in a call of its own: it cannot serve
/// their faults.
pub(super) fn bring_in(call: &mut Call<'_>, number: Sysno) {
    let [_, buffer, length, ..] = call.args;
    let stores = matches!(
        number,
        Sysno::read | Sysno::pread64 | Sysno::readv | Sysno::preadv | Sysno::preadv2
    );
    let access = if stores { Access::Write } else { Access::Read };
    match number {
        Sysno::read | Sysno::write | Sysno::pread64 | Sysno::pwrite64 => {
            bring_in_buffer(call, buffer, length, access);
        }
        _ => {
            // Linux finds the same wrong with it.
            let _found_by_linux = with_vector(call, buffer, length, |bytes, token| {
                let length = bytes.count();
                if access == Access::Write {
                    bytes.fault_in_writeable(token, length);
                } else {
                    bytes.fault_in_readable(token, length);
                }
                Ok(())
            });
        }
    }
}

fn bring_in_buffer(call: &mut Call<'_>, buffer: usize, length: usize, access: Access) {
    let is_file = call.process.space.has_mapping_in(buffer..buffer.saturating_add(length));
    if !is_file {
        return;
    }
    if let Ok(slice) = UserSlice::new(&call.memory, UserAddr::new(buffer), length) {
        if access == Access::Write {
            call.memory.fault_in_writeable(&mut call.token, slice);
        } else {
            call.memory.fault_in_readable(&mut call.token, slice);
        }
    }
}
