//! Reading straight into a page: the unfilled part of a [`FillBuf`] as a slice.

use core::slice;

use faultless_page::{Errno, FillBuf};

/// Fills the next `len` bytes of `buf` (clipped) by `read`, which gets them as zeros and says how
/// many of them count.
///
/// # Errors
/// Those of `read`: then nothing was filled.
pub(crate) fn fill(
    buf: &mut FillBuf<'_>,
    len: usize,
    read: impl FnOnce(&mut [u8]) -> Result<usize, Errno>,
) -> Result<(), Errno> {
    let len = len.min(buf.remaining());
    let start = buf.unfilled();
    // SAFETY: `len` bytes from there lie in the buffer, which is valid for writes and borrowed
    // uniquely.
    unsafe { start.write_bytes(0, len) };
    // SAFETY: as above, and initialised by the line before.
    let bytes = unsafe { slice::from_raw_parts_mut(start, len) };
    let filled = read(bytes)?.min(len);
    // SAFETY: all `len` bytes were written through `unfilled`, with zeros at least: a device that
    // lies does not show recycled memory.
    unsafe { buf.advance(filled) };
    Ok(())
}
