//! Who holds a UDP port or a TUN interface: read from /proc, for error messages only.
//!
//! What cannot be read (another namespace, another user's process) is simply not named.

use std::fs;
use std::path::Path;

use crate::error::Holder;

/// The process with a UDP socket bound to `port`, in this network namespace.
pub(crate) fn of_udp_port(port: u16) -> Option<Holder> {
    let inode = ["/proc/thread-self/net/udp", "/proc/thread-self/net/udp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .find_map(|table| socket_inode(&table, port))?;
    let wanted = format!("socket:[{inode}]");
    processes()
        .find(|pid| holds_descriptor(*pid, &wanted))
        .map(holder)
}

/// The process that owns a queue of the TUN interface `name`.
pub(crate) fn of_tun(name: &str) -> Option<Holder> {
    let here = fs::read_link("/proc/thread-self/ns/net").ok()?;
    processes()
        .find(|pid| holds_tun(*pid, name) && is_in(*pid, &here))
        .map(holder)
}

/// Finds the inode of the socket bound to `port` in the text of /proc/net/udp (proc(5)).
fn socket_inode(table: &str, port: u16) -> Option<u64> {
    table.lines().skip(1).find_map(|line| {
        let mut columns = line.split_whitespace();
        let (_, bound) = columns.nth(1)?.rsplit_once(':')?;
        let inode = columns.nth(7)?;
        (u16::from_str_radix(bound, 16) == Ok(port)).then(|| inode.parse().ok())?
    })
}

/// Whether the text of /proc/PID/fdinfo/N is that of a queue of interface `name`.
fn is_queue_of(fdinfo: &str, name: &str) -> bool {
    fdinfo.lines().any(|line| {
        line.strip_prefix("iff:")
            .is_some_and(|found| found.trim() == name)
    })
}

fn processes() -> impl Iterator<Item = u32> {
    entries(Path::new("/proc")).filter_map(|entry| entry.file_name()?.to_str()?.parse().ok())
}

fn holds_descriptor(pid: u32, wanted: &str) -> bool {
    entries(Path::new(&format!("/proc/{pid}/fd")))
        .any(|entry| fs::read_link(entry).is_ok_and(|target| target.as_os_str() == wanted))
}

fn holds_tun(pid: u32, name: &str) -> bool {
    entries(Path::new(&format!("/proc/{pid}/fd")))
        .filter(|entry| fs::read_link(entry).is_ok_and(|target| target.ends_with("net/tun")))
        .filter_map(|entry| {
            fs::read_to_string(format!("/proc/{pid}/fdinfo/{}", entry.file_name()?.to_str()?)).ok()
        })
        .any(|info| is_queue_of(&info, name))
}

/// Whether a thread of the process is in the network namespace `here`: interface names count within one.
fn is_in(pid: u32, here: &Path) -> bool {
    entries(Path::new(&format!("/proc/{pid}/task")))
        .any(|task| fs::read_link(task.join("ns/net")).is_ok_and(|namespace| namespace == here))
}

fn holder(pid: u32) -> Holder {
    let command = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Holder {
        pid,
        command: command.trim().to_owned(),
    }
}

fn entries(directory: &Path) -> impl Iterator<Item = std::path::PathBuf> + use<> {
    fs::read_dir(directory)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  350: 0100007F:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000   101        0 16241 2 0000000000000000 0
 1135: 00000000:CA6C 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 48231 2 0000000000000000 0
";

    #[test]
    fn bound_port_is_found_in_the_socket_table() {
        assert_eq!(socket_inode(TABLE, 51820), Some(48231));
        assert_eq!(socket_inode(TABLE, 51821), None);
        assert_eq!(socket_inode("", 51820), None);
    }

    #[test]
    fn own_socket_is_held_by_this_process() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let found = of_udp_port(socket.local_addr().unwrap().port()).unwrap();
        assert_eq!(found.pid, std::process::id());
    }

    #[test]
    fn queue_is_told_by_its_interface() {
        let info = "pos:\t0\nflags:\t0104002\nmnt_id:\t21\niff:\tmesh0\n";
        assert!(is_queue_of(info, "mesh0"));
        assert!(!is_queue_of(info, "mesh"));
    }
}
