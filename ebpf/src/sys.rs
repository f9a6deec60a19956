//! System calls that aya does not make: of `bpf(2)`, and the program's clock.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

/// `BPF_OBJ_GET_INFO_BY_FD`.
const OBJ_GET_INFO_BY_FD: libc::c_long = 15;

/// `bpf_attr` of `BPF_OBJ_GET_INFO_BY_FD`.
#[repr(C)]
struct InfoByFd {
    fd: u32,
    info_len: u32,
    info: u64,
}

/// The beginning of `bpf_link_info` of an XDP link.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
struct XdpLinkInfo {
    kind: u32,
    id: u32,
    program: u32,
    padding: u32,
    interface: u32,
    rest: [u32; 11],
}

/// What the kernel says of an XDP link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct XdpLink {
    /// The program's id.
    pub(crate) program: u32,
    /// The interface's index; 0 once it is gone.
    pub(crate) interface: u32,
}

/// The program and the interface of an XDP link.
pub(crate) fn xdp_link(link: BorrowedFd<'_>) -> io::Result<XdpLink> {
    let mut info = XdpLinkInfo::default();
    let mut attribute = InfoByFd {
        fd: u32::try_from(link.as_raw_fd()).unwrap_or(u32::MAX),
        info_len: u32::try_from(size_of::<XdpLinkInfo>()).unwrap_or(0),
        info: std::ptr::from_mut(&mut info) as u64,
    };
    // SAFETY: `attribute` is as the command wants it and lives through the call; it gives the address and
    // the true size of `info`, which lives as long and of which any bytes are a value.
    let done = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            OBJ_GET_INFO_BY_FD,
            std::ptr::from_mut(&mut attribute),
            size_of::<InfoByFd>(),
        )
    };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(XdpLink { program: info.program, interface: info.interface })
}

/// `BPF_OBJ_GET`, `BPF_LINK_DETACH`.
const OBJ_GET: libc::c_long = 7;
const LINK_DETACH: libc::c_long = 34;
/// The magic number of a BPF file system (`linux/magic.h`).
const BPF_FS: i64 = 0xcafe_4a11;

/// `bpf_attr` of `BPF_OBJ_GET`.
#[repr(C)]
struct ObjectAt {
    path: u64,
    fd: u32,
    flags: u32,
}

/// What is pinned at `path`.
pub(crate) fn pinned(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attribute = ObjectAt { path: path.as_ptr() as u64, fd: 0, flags: 0 };
    // SAFETY: `attribute` is as the command wants it and lives through the call, as the path does, which
    // ends with a NUL.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            OBJ_GET,
            std::ptr::from_mut(&mut attribute),
            size_of::<ObjectAt>(),
        )
    };
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made it for us; nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Detaches a link from its interface, whoever else holds it.
pub(crate) fn detach(link: BorrowedFd<'_>) -> io::Result<()> {
    let mut attribute = u32::try_from(link.as_raw_fd()).unwrap_or(u32::MAX);
    // SAFETY: the command takes a link's descriptor and nothing else; `attribute` is that and lives through
    // the call.
    let done = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            LINK_DETACH,
            std::ptr::from_mut(&mut attribute),
            size_of::<u32>(),
        )
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Whether a folder is in a BPF file system.
pub(crate) fn is_bpf_fs(path: &Path) -> bool {
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else { return false };
    let mut told = std::mem::MaybeUninit::<libc::statfs>::zeroed();
    // SAFETY: the path ends with a NUL; `told` has room for the answer, and zeros are a value of it.
    let told = unsafe {
        if libc::statfs(path.as_ptr(), told.as_mut_ptr()) != 0 {
            return false;
        }
        told.assume_init()
    };
    #[allow(
        clippy::unnecessary_cast,
        clippy::allow_attributes,
        reason = "the type differs by target"
    )]
    let kind = told.f_type as i64;
    kind & 0xffff_ffff == BPF_FS
}

/// `CLOCK_MONOTONIC` in nanoseconds: the program's clock.
pub(crate) fn monotonic_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` has room for the answer.
    let done = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    debug_assert_eq!(done, 0, "every Linux has this clock");
    let (seconds, nanos) = (u64::try_from(time.tv_sec), u64::try_from(time.tv_nsec));
    seconds.unwrap_or(0) * 1_000_000_000 + nanos.unwrap_or(0)
}

/// Length of a tick of the kernel in nanoseconds: the resolution of `CLOCK_MONOTONIC_COARSE` (`clock_getres(2)`).
pub(crate) fn tick_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` has room for the answer.
    let done = unsafe { libc::clock_getres(libc::CLOCK_MONOTONIC_COARSE, &raw mut time) };
    debug_assert_eq!(done, 0, "every Linux has this clock");
    u64::try_from(time.tv_nsec).unwrap_or(0).max(1)
}
