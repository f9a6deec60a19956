//! System calls that aya does not make: of `bpf(2)`, and the program's and the system's clock.

mod batch;

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
    thread,
    time::Duration,
};

use aya::Pod;

pub(crate) use self::batch::Batch;

/// Long beyond what a packet takes in a program, for kernels that can't say when one is through.
const LONG: Duration = Duration::from_millis(200);
/// `BPF_OBJ_GET_INFO_BY_FD`.
const OBJ_GET_INFO_BY_FD: libc::c_long = 15;

/// `BPF_PROG_TEST_RUN`.
const PROG_TEST_RUN: libc::c_long = 10;
/// `BPF_MAP_LOOKUP_AND_DELETE_ELEM`: of a hash since Linux 5.14.
const LOOKUP_AND_DELETE: libc::c_long = 21;
/// `MEMBARRIER_CMD_GLOBAL` of `membarrier(2)`.
const MEMBARRIER_GLOBAL: libc::c_long = 1;

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

/// Whether this process may make something in a folder.
pub(crate) fn may_write(folder: &Path) -> io::Result<()> {
    let path = CString::new(folder.as_os_str().as_bytes())?;
    let wanted = libc::W_OK | libc::X_OK;
    // SAFETY: the path ends with a NUL and lives through the call.
    let done = unsafe { libc::faccessat(libc::AT_FDCWD, path.as_ptr(), wanted, libc::AT_EACCESS) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
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

/// What adjtimex(2) answers, as far as it is needed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClockTold {
    /// What the call returns, one of `TIME_OK` to `TIME_ERROR`.
    pub(crate) state: libc::c_int,
    /// `STA_…`.
    pub(crate) status: libc::c_int,
    /// Microseconds, or nanoseconds with `STA_NANO`.
    pub(crate) offset: i64,
}

/// Asks the kernel of its clock, and sets nothing.
pub(crate) fn clock() -> io::Result<ClockTold> {
    // SAFETY: zeros are a value of it; without `modes` the call only asks.
    let mut told: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: there is room for the answer.
    let state = unsafe { libc::adjtimex(&raw mut told) };
    if state < 0 {
        return Err(io::Error::last_os_error());
    }
    #[allow(
        clippy::useless_conversion,
        clippy::allow_attributes,
        reason = "the type differs by target"
    )]
    Ok(ClockTold { state, status: told.status, offset: i64::from(told.offset) })
}

/// `bpf_attr` of commands about one element.
#[repr(C)]
struct Element {
    map: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// `bpf_attr` of `BPF_PROG_TEST_RUN`, as far as it is needed.
#[repr(C)]
struct TestRun {
    program: u32,
    answer: u32,
    bytes_in: u32,
    bytes_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
}

/// Takes an element out of a hash map whose keys and values have the sizes of ours; `None` if there is none.
pub(crate) fn take<K: Pod, V: Pod + Default>(
    map: BorrowedFd<'_>,
    key: &K,
) -> io::Result<Option<V>> {
    let mut value = V::default();
    let mut attribute = Element {
        map: u32::try_from(map.as_raw_fd()).unwrap_or(u32::MAX),
        key: std::ptr::from_ref(key) as u64,
        value: std::ptr::from_mut(&mut value) as u64,
        flags: 0,
    };
    // SAFETY: the attribute is as the command wants it; key and value have the map's sizes and live through
    // the call, and any bytes are a value of a `Pod` type.
    let done = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            LOOKUP_AND_DELETE,
            std::ptr::from_mut(&mut attribute),
            size_of::<Element>(),
        )
    };
    if done >= 0 {
        return Ok(Some(value));
    }
    let error = io::Error::last_os_error();
    if error.raw_os_error() == Some(libc::ENOENT) { Ok(None) } else { Err(error) }
}

/// The value that these bytes begin with; `None` of too few.
pub(crate) fn value<V: Pod>(bytes: &[u8]) -> Option<V> {
    let bytes = bytes.get(..size_of::<V>())?;
    // SAFETY: there are as many bytes as the type has, and any bytes are a value of a `Pod` type.
    Some(unsafe { bytes.as_ptr().cast::<V>().read_unaligned() })
}

/// Runs a program once on a frame.
pub(crate) fn run(program: BorrowedFd<'_>, frame: &[u8]) -> io::Result<()> {
    let mut attribute = TestRun {
        program: u32::try_from(program.as_raw_fd()).unwrap_or(u32::MAX),
        answer: 0,
        bytes_in: u32::try_from(frame.len()).map_err(io::Error::other)?,
        bytes_out: 0,
        data_in: frame.as_ptr() as u64,
        data_out: 0,
        repeat: 1,
        duration: 0,
    };
    // SAFETY: the attribute is as the command wants it, nothing is written but to itself, and the frame lives
    // through the call.
    let done = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            PROG_TEST_RUN,
            std::ptr::from_mut(&mut attribute),
            size_of::<TestRun>(),
        )
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Waits until no processor is in a program any more that was there when this was called: the kernel waits for
/// its readers of RCU, as programs are (`kernel/sched/membarrier.c`). Where the kernel can't, it is waited for [`LONG`].
pub(crate) fn wait_for_programs() {
    // SAFETY: the command takes no pointers.
    let done = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_GLOBAL, 0, 0) };
    if done != 0 {
        thread::sleep(LONG);
    }
}

/// The MTU of an interface.
pub(crate) fn mtu(interface: &str) -> io::Result<u32> {
    let told = ask(interface, libc::SIOCGIFMTU)?;
    // SAFETY: the call has set this member.
    let mtu = unsafe { told.ifr_ifru.ifru_mtu };
    u32::try_from(mtu).map_err(io::Error::other)
}

/// The type of an interface's frames (`linux/if_arp.h`).
pub(crate) fn link_type(interface: &str) -> io::Result<u16> {
    let told = ask(interface, libc::SIOCGIFHWADDR)?;
    // SAFETY: the call has set this member.
    let address = unsafe { told.ifr_ifru.ifru_hwaddr };
    Ok(address.sa_family)
}

/// Whether somebody has set an interface to take in frames for others: not one process for as long as it lives.
pub(crate) fn is_set_promiscuous(interface: &str) -> io::Result<bool> {
    let told = ask(interface, libc::SIOCGIFFLAGS)?;
    // SAFETY: the call has set this member.
    let flags = unsafe { told.ifr_ifru.ifru_flags };
    Ok(libc::c_int::from(flags) & libc::IFF_PROMISC != 0)
}

/// The index of an interface.
pub(crate) fn index(interface: &str) -> io::Result<u32> {
    let told = ask(interface, libc::SIOCGIFINDEX)?;
    // SAFETY: the call has set this member.
    let index = unsafe { told.ifr_ifru.ifru_ifindex };
    u32::try_from(index).map_err(io::Error::other)
}

/// The name of an interface by its index; `None` if it is gone.
pub(crate) fn name(index: u32) -> Option<String> {
    let mut name: [libc::c_char; libc::IFNAMSIZ] = [0; libc::IFNAMSIZ];
    // SAFETY: there is room for a name, which is what the call writes.
    let found = unsafe { libc::if_indextoname(index, name.as_mut_ptr()) };
    if found.is_null() {
        return None;
    }
    let bytes = name.iter().take_while(|byte| **byte != 0).map(|byte| byte.to_ne_bytes()[0]);
    String::from_utf8(bytes.collect()).ok()
}

/// A socket to ask for what rtnetlink(7) knows.
pub(crate) fn route_socket() -> io::Result<OwnedFd> {
    // The protocol 0 is NETLINK_ROUTE.
    socket(libc::AF_NETLINK, libc::SOCK_RAW)
}

/// What the kernel says of an interface (netdevice(7)).
fn ask(interface: &str, call: libc::Ioctl) -> io::Result<libc::ifreq> {
    let name = CString::new(interface)?;
    let name = name.as_bytes_with_nul();
    // SAFETY: zeros are a value of it.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() > request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name) {
        *to = libc::c_char::from_ne_bytes([*from]);
    }
    let socket = socket(libc::AF_INET, libc::SOCK_DGRAM)?;
    // SAFETY: the request names an interface, and has room for the answer.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), call, &raw mut request) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(request) }
}

/// A socket of the usual protocol; of packets (`AF_PACKET`) one that gets none.
fn socket(family: libc::c_int, kind: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: the call takes three numbers.
    let socket = unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, 0) };
    if socket < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made it for us; nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(socket) })
}

/// A socket that keeps an interface taking in frames for others, as long as it is open (packet(7)).
pub(crate) fn promiscuous(interface: u32) -> io::Result<OwnedFd> {
    let socket = socket(libc::AF_PACKET, libc::SOCK_RAW)?;
    let wanted = libc::packet_mreq {
        mr_ifindex: i32::try_from(interface).map_err(io::Error::other)?,
        mr_type: u16::try_from(libc::PACKET_MR_PROMISC).map_err(io::Error::other)?,
        mr_alen: 0,
        mr_address: [0; 8],
    };
    // SAFETY: the option takes a `packet_mreq` of the size that is given, which lives through the call.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_ADD_MEMBERSHIP,
            (&raw const wanted).cast(),
            u32::try_from(size_of::<libc::packet_mreq>()).map_err(io::Error::other)?,
        )
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(socket) }
}
