//! The kernel calls that no safe crate offers: the TUN queue's ioctls and the socket mark.
//!
//! Everything unsafe of the workspace is in this file. Each function hands the kernel memory that
//! lives on this stack frame, of the size that the call is documented to read or write.

use std::fs::{File, OpenOptions};
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

/// Size of `struct virtio_net_hdr`, which stands before every packet of a TUN queue. Bytes.
pub(crate) const VNET_HEADER: usize = 10;

/// Longest name of an interface, without the closing zero. Bytes.
pub(crate) const MAX_INTERFACE_NAME: usize = libc::IFNAMSIZ - 1;

pub(crate) const TUN_DEVICE: &str = "/dev/net/tun";

/// Opens one queue of a TUN interface, non-blocking, with a vnet header on every packet.
///
/// `exclusive`: make the interface; `EBUSY` when it exists. Without, join an existing one.
pub(crate) fn open_tun_queue(name: &str, exclusive: bool) -> io::Result<OwnedFd> {
    let queue = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(TUN_DEVICE)?;
    attach(&queue, name, exclusive)?;
    set_vnet_header_size(&queue)?;
    Ok(queue.into())
}

fn attach(queue: &File, name: &str, exclusive: bool) -> io::Result<()> {
    if name.is_empty() || name.len() > MAX_INTERFACE_NAME {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: `ifreq` is plain old data, for which all zeros is a valid value.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    for (slot, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *slot = byte.cast_signed();
    }
    let mut flags = libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR | libc::IFF_MULTI_QUEUE;
    if exclusive {
        flags |= libc::IFF_TUN_EXCL;
    }
    request.ifr_ifru.ifru_flags = flags as libc::c_short;
    // SAFETY: TUNSETIFF reads and writes one `ifreq`, which outlives the call.
    check(unsafe { libc::ioctl(queue.as_raw_fd(), libc::TUNSETIFF, &mut request) })
}

fn set_vnet_header_size(queue: &File) -> io::Result<()> {
    let size = VNET_HEADER as libc::c_int;
    // SAFETY: TUNSETVNETHDRSZ reads one int through the pointer.
    check(unsafe { libc::ioctl(queue.as_raw_fd(), libc::TUNSETVNETHDRSZ, &size) })
}

/// Tells the kernel what it may leave to the reader of this queue: `TUN_F_*` bits, 0 for nothing.
pub(crate) fn set_offloads(queue: &OwnedFd, offloads: u32) -> io::Result<()> {
    // SAFETY: TUNSETOFFLOAD takes its flags by value.
    check(unsafe {
        libc::ioctl(
            queue.as_raw_fd(),
            libc::TUNSETOFFLOAD,
            libc::c_ulong::from(offloads),
        )
    })
}

/// Marks every packet of `socket` (SO_MARK), so that routing rules can tell it. Needs CAP_NET_ADMIN.
pub(crate) fn set_mark(socket: impl AsFd, mark: u32) -> io::Result<()> {
    // SAFETY: SO_MARK reads four bytes, the size given.
    check(unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MARK,
            (&raw const mark).cast(),
            mem::size_of::<u32>() as libc::socklen_t,
        )
    })
}

/// Lets datagrams of an IPv6 socket be fragmented (IPV6_DONTFRAG off, RFC 3542 §11.2).
pub(crate) fn allow_ipv6_fragments(socket: impl AsFd) -> io::Result<()> {
    set_int(socket, libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG, 0)
}

/// Lets the kernel and routers fragment the datagrams of a UDP socket, or forbids it. What ICMP said about path MTUs counts
/// for nothing (ip(7): IP_PMTUDISC_OMIT, IP_PMTUDISC_PROBE), but for how small fragments are over IPv6.
pub(crate) fn allow_fragments(socket: impl AsFd, ipv4: bool, allow: bool) -> io::Result<()> {
    if ipv4 {
        let discover = if allow {
            libc::IP_PMTUDISC_OMIT
        } else {
            libc::IP_PMTUDISC_PROBE
        };
        return set_int(socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, discover);
    }
    let discover = if allow {
        // Routers fragment no IPv6: the kernel has to, as small as routers told it.
        libc::IPV6_PMTUDISC_DONT
    } else {
        libc::IPV6_PMTUDISC_PROBE
    };
    set_int(&socket, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, discover)?;
    set_int(socket, libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG, (!allow).into())
}

fn set_int(socket: impl AsFd, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: these options read one int, the size given.
    check(unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            mem::size_of::<libc::c_int>() as libc::socklen_t,
        )
    })
}

/// Stops the kernel from merging the datagrams of a UDP socket (UDP_GRO).
pub(crate) fn disable_gro(socket: impl AsFd) -> io::Result<()> {
    match set_int(socket, libc::SOL_UDP, libc::UDP_GRO, 0) {
        // A kernel before 5.0 has nothing to stop.
        Err(error) if error.raw_os_error() == Some(libc::ENOPROTOOPT) => Ok(()),
        result => result,
    }
}

/// Binds a packet socket to the frames of one EtherType on one interface (packet(7)).
pub(crate) fn bind_packet_socket(socket: impl AsFd, index: u32, kind: u16) -> io::Result<()> {
    // SAFETY: `sockaddr_ll` is plain old data, for which all zeros is a valid value.
    let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
    address.sll_family = libc::AF_PACKET as libc::c_ushort;
    address.sll_protocol = kind.to_be();
    address.sll_ifindex = index.cast_signed();
    // SAFETY: bind reads one `sockaddr_ll`, the size given, which outlives the call.
    check(unsafe {
        libc::bind(
            socket.as_fd().as_raw_fd(),
            (&raw const address).cast(),
            mem::size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    })
}

/// Leaves the UDP checksum out (SO_NO_CHECK), with which the kernel refuses segmentation offload.
#[cfg(test)]
pub(crate) fn omit_checksums(socket: impl AsFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: SO_NO_CHECK reads one int, the size given.
    check(unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NO_CHECK,
            (&raw const on).cast(),
            mem::size_of::<libc::c_int>() as libc::socklen_t,
        )
    })
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
