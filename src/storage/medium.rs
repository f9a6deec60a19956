//! Errors that say that a place of a disk is damaged: trying it again does not help, but other places can be read.

use std::io;

use rustix::io::Errno;

/// What the kernel answers for a place that it can't read: the device failed there (`EIO`, `ENODATA`, `EILSEQ`), or
/// what it gave is not what the file system had written (`EUCLEAN`, `EBADMSG`).
const DAMAGED: [Errno; 5] = [Errno::IO, Errno::NODATA, Errno::ILSEQ, Errno::UCLEAN, Errno::BADMSG];

/// Whether reading failed as the place that was read is damaged.
pub fn is_damaged(error: &io::Error) -> bool {
    let is = |errno: Errno| error.raw_os_error() == Some(errno.raw_os_error());
    DAMAGED.into_iter().any(is)
}
