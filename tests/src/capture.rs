//! What passes on the underlay, and the proof that no inner packet passes there in clear.
//!
//! tcpdump captures every interface of a host (the internet of the world) and streams to a thread that judges
//! each packet at once. A packet is in clear when one of its outermost addresses is an inner one, or when its bytes
//! contain the mark that all test traffic carries. The nodes' own datagrams are neither, also where they try an
//! address inside a served prefix as an endpoint: handshakes and QUIC between two nodes' ports.

use std::io::{self, BufReader, Read};
use std::net::IpAddr;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use etherparse::{LaxPacketHeaders, NetHeaders, TransportHeader};
use ipnet::IpNet;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::traffic::MARK;
use crate::wait::eventually;
use crate::world::Host;

/// Enough of a packet for all its headers and the mark.
const SNAP: &str = "256";
/// Room in the kernel for a second of full speed, so that nothing goes unseen.
const BUFFER_KIB: &str = "65536";
/// How many offending packets are described; all are counted.
const SHOWN: usize = 5;
/// The length of the "Linux cooked" pseudo header; its last two bytes are the EtherType.
const COOKED: usize = 16;

/// Which addresses are whose. Of overlapping ones the underlay's win, as long as both ends are its own.
#[derive(Clone, Debug, Default)]
pub struct Realm {
    /// Prefixes that may appear inside tunnels only.
    pub inner: Vec<IpNet>,
    /// Prefixes of the endpoints.
    pub underlay: Vec<IpNet>,
}

impl Realm {
    fn is_in_clear(&self, source: IpAddr, destination: IpAddr) -> bool {
        let within = |prefixes: &[IpNet], address| prefixes.iter().any(|prefix| prefix.contains(&address));
        let touches_inner = within(&self.inner, source) || within(&self.inner, destination);
        touches_inner && !(within(&self.underlay, source) && within(&self.underlay, destination))
    }
}

/// A running capture. Clones are the same capture.
#[derive(Clone, Debug)]
pub struct Capture {
    tcpdump: Arc<Mutex<Child>>,
    seen: Arc<Mutex<Seen>>,
    reader: Arc<Mutex<Option<JoinHandle<()>>>>,
}

/// What a capture saw so far, each packet counted at every interface that it crossed.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// IP packets of any kind.
    pub packets: u64,
    /// UDP datagrams whose first byte and length are those of WireGuard transport data.
    pub tunnelled: u64,
    /// Bytes of UDP datagrams (from their IP header on) that are QUIC: the first byte has its fixed bit.
    pub control_bytes: u64,
    /// Packets with an inner address outside, or with the mark of test traffic.
    pub in_clear: u64,
    /// The first of those, in words.
    pub described: Vec<String>,
}

impl Capture {
    pub(crate) fn start(host: &Host, realm: Realm) -> Result<Capture> {
        let arguments = [
            "-i",
            "any",
            "-y",
            "LINUX_SLL",
            "-n",
            "-U",
            "--immediate-mode",
            "-s",
            SNAP,
            "-B",
        ];
        let mut tcpdump = host
            .command("tcpdump")
            .args(arguments)
            .args([BUFFER_KIB, "-w", "-"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start tcpdump: is it installed?")?;
        let stdout = tcpdump.stdout.take().context("tcpdump has no output")?;
        let seen = Arc::new(Mutex::new(Seen::default()));
        let sink = seen.clone();
        let mut stream = BufReader::with_capacity(1 << 20, stdout);
        // tcpdump writes the file header once it listens: whatever is sent after that is captured.
        skip(&mut stream, 24).context("tcpdump did not start capturing")?;
        let reader = std::thread::spawn(move || {
            while let Ok(packet) = next_packet(&mut stream) {
                judge(
                    &packet,
                    &realm,
                    &mut sink.lock().unwrap_or_else(PoisonError::into_inner),
                );
            }
        });
        Ok(Capture {
            tcpdump: Arc::new(Mutex::new(tcpdump)),
            seen,
            reader: Arc::new(Mutex::new(Some(reader))),
        })
    }

    /// What it saw so far.
    pub fn seen(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends the capture, judges all that it saw, and makes sure that it saw everything.
    ///
    /// # Errors
    /// A packet passed in clear, or the kernel dropped packets before tcpdump read them.
    pub fn no_inner_packet_in_clear(&self) -> Result<()> {
        let dropped = self.stop();
        let seen = self.seen();
        ensure!(
            seen.in_clear == 0,
            "{} packets crossed the underlay in clear: {}",
            seen.in_clear,
            seen.described.join("; ")
        );
        ensure!(
            dropped == 0,
            "the capture missed {dropped} packets, so it proves nothing"
        );
        Ok(())
    }

    /// Waits until something in clear was seen: for tests of the capture itself.
    ///
    /// # Errors
    /// Nothing was, within two seconds.
    pub fn until_in_clear(&self) -> Result<Seen> {
        eventually("a packet in clear", Duration::from_secs(2), || {
            let seen = self.seen();
            if seen.in_clear == 0 {
                bail!("{} packets, none in clear", seen.packets)
            } else {
                Ok(seen)
            }
        })
    }

    /// Stops tcpdump, waits until all was read, and returns how many packets the kernel dropped.
    pub(crate) fn stop(&self) -> u64 {
        let Some(reader) = self.reader.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return 0;
        };
        let mut tcpdump = self.child();
        let _gone_already = kill(Pid::from_raw(tcpdump.id().cast_signed()), Signal::SIGINT);
        let mut summary = String::new();
        if let Some(mut stderr) = tcpdump.stderr.take() {
            let _shorter_summary = stderr.read_to_string(&mut summary);
        }
        let _reaped = tcpdump.wait();
        let _all_judged = reader.join();
        dropped_by_kernel(&summary)
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.tcpdump.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn dropped_by_kernel(summary: &str) -> u64 {
    let line = summary.lines().find(|line| line.ends_with("dropped by kernel"));
    line.and_then(|line| line.split(' ').next()?.parse().ok())
        .unwrap_or(0)
}

/// One record of a pcap file in host byte order: seconds, fraction, captured length, length, bytes.
fn next_packet(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    skip(stream, 8)?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    skip(stream, 4)?;
    let mut packet = vec![0; u32::from_ne_bytes(length) as usize];
    stream.read_exact(&mut packet)?;
    Ok(packet)
}

fn skip(stream: &mut impl Read, bytes: u64) -> io::Result<()> {
    match io::copy(&mut stream.take(bytes), &mut io::sink())? {
        copied if copied == bytes => Ok(()),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

fn judge(packet: &[u8], realm: &Realm, seen: &mut Seen) {
    let Some(ip) = packet.get(COOKED..) else { return };
    let ether_type = u16::from_be_bytes([packet[COOKED - 2], packet[COOKED - 1]]);
    let headers = LaxPacketHeaders::from_ether_type(etherparse::EtherType(ether_type), ip);
    let Some((source, destination)) = addresses(&headers) else {
        return;
    };
    seen.packets += 1;
    seen.tunnelled += u64::from(is_transport_data(&headers));
    seen.control_bytes += control_bytes(&headers);
    let has_mark = ip.windows(MARK.len()).any(|window| window == MARK);
    if has_mark || (realm.is_in_clear(source, destination) && !is_between_nodes(&headers)) {
        seen.in_clear += 1;
        if seen.described.len() < SHOWN {
            let why = if has_mark {
                "carries test traffic"
            } else {
                "has an inner address"
            };
            seen.described
                .push(format!("{source} > {destination} ({}) {why}", protocol(&headers)));
        }
    }
}

fn addresses(headers: &LaxPacketHeaders<'_>) -> Option<(IpAddr, IpAddr)> {
    match headers.net.as_ref()? {
        NetHeaders::Ipv4(ip, _) => Some((ip.source.into(), ip.destination.into())),
        NetHeaders::Ipv6(ip, _) => Some((ip.source.into(), ip.destination.into())),
        NetHeaders::Arp(_) => None,
    }
}

/// Both ports are those of nodes: 51820 and the lanes above.
fn is_between_nodes(headers: &LaxPacketHeaders<'_>) -> bool {
    let ports = 51820..51828;
    let Some(TransportHeader::Udp(udp)) = &headers.transport else {
        return false;
    };
    ports.contains(&udp.source_port) && ports.contains(&udp.destination_port)
}

/// WireGuard message type 4: one byte 4, three zeros, at least 32 bytes.
fn is_transport_data(headers: &LaxPacketHeaders<'_>) -> bool {
    let payload = headers.payload.slice();
    matches!(headers.transport, Some(TransportHeader::Udp(_)))
        && payload.len() >= 32
        && payload.starts_with(&[4, 0, 0, 0])
}

/// The length by the UDP header: the packet itself may have been cut by the capture.
fn control_bytes(headers: &LaxPacketHeaders<'_>) -> u64 {
    let Some(TransportHeader::Udp(udp)) = &headers.transport else {
        return 0;
    };
    let is_quic = headers
        .payload
        .slice()
        .first()
        .is_some_and(|byte| byte & 0x40 != 0);
    if is_quic { u64::from(udp.length) + 20 } else { 0 }
}

fn protocol(headers: &LaxPacketHeaders<'_>) -> String {
    match &headers.transport {
        Some(TransportHeader::Udp(udp)) => format!("udp {} > {}", udp.source_port, udp.destination_port),
        Some(TransportHeader::Tcp(tcp)) => format!("tcp {} > {}", tcp.source_port, tcp.destination_port),
        Some(TransportHeader::Icmpv4(_) | TransportHeader::Icmpv6(_)) => "icmp".to_owned(),
        _ => "other".to_owned(),
    }
}
