//! The two system calls that nix does not wrap: sharing a file's blocks, and starting its writing back.
#![expect(unsafe_code, reason = "nix has no wrapper for the FICLONE ioctl and sync_file_range")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

/// Makes `to`, which must be empty, a copy-on-write copy of `from`, where the file system can (XFS, Btrfs,
/// bcachefs, overlay on them).
pub(crate) fn clone_file(from: &File, to: &File) -> io::Result<()> {
    // SAFETY: both descriptors are open for the whole call, and FICLONE takes a descriptor by value: the
    // kernel reads and writes no memory of ours.
    let done =
        unsafe { nix::libc::ioctl(to.as_raw_fd(), nix::libc::FICLONE as _, from.as_raw_fd()) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Starts writing `len` bytes from `offset` on to the disk, without waiting: the sync at the end has less
/// left to do. It promises nothing, so failing is nothing.
pub(crate) fn start_writeback(file: &File, offset: u64, len: u64) {
    let (Ok(offset), Ok(len)) = (offset.try_into(), len.try_into()) else { return };
    // SAFETY: the descriptor is open for the whole call, and all arguments are passed by value: the kernel
    // reads and writes no memory of ours.
    let _ = unsafe {
        nix::libc::sync_file_range(file.as_raw_fd(), offset, len, nix::libc::SYNC_FILE_RANGE_WRITE)
    };
}
