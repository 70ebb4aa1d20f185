//! Holds virtual addresses on LANs: asks there, gives them to the interface for two seconds at a time, announces them,
//! and takes them away at once when they are no longer wanted.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use meshnode_dataplane::LanSocket;
use rtnetlink::Handle;
use rtnetlink::packet_route::address::{AddressAttribute, CacheInfo};
use rtnetlink::packet_route::link::LinkAttribute;
use tokio::sync::watch;

use crate::features::lan_address::claim::{Action, Claim, LIFETIME};
use crate::features::lan_address::decide::Held;
use crate::features::lan_address::frames::{self, Mac};

/// How often the LAN is listened to, and what failed is tried again.
const LOOK: Duration = Duration::from_millis(100);
/// Frames read at one time: a LAN full of ARP must not keep us from renewing.
const MOST: usize = 256;
/// The longest ARP frame is 42 bytes, 60 with padding.
const FRAME: usize = 64;

/// Handle of the task. Dropping it takes all addresses away.
#[derive(Debug)]
pub struct LanKeeper {
    wanted: watch::Sender<BTreeSet<Held>>,
    held: watch::Receiver<BTreeSet<Held>>,
}

impl Default for LanKeeper {
    /// Starts; nothing is held yet, and no socket is open before something is wanted.
    fn default() -> LanKeeper {
        let (wanted, wishes) = watch::channel(BTreeSet::new());
        let (tell, held) = watch::channel(BTreeSet::new());
        tokio::spawn(run(wishes, tell));
        LanKeeper { wanted, held }
    }
}

impl LanKeeper {
    /// Exactly these are to be held from now on.
    pub fn want(&self, wanted: BTreeSet<Held>) {
        self.wanted.send_if_modified(|last| {
            let changed = *last != wanted;
            *last = wanted;
            changed
        });
    }

    /// What is held now.
    pub fn held(&self) -> BTreeSet<Held> {
        self.held.borrow().clone()
    }
}

/// One address being taken or held.
struct Place {
    claim: Claim,
    socket: LanSocket,
    index: u32,
    mac: Mac,
}

async fn run(mut wishes: watch::Receiver<BTreeSet<Held>>, tell: watch::Sender<BTreeSet<Held>>) {
    // Nothing is opened on a host that shares no address.
    if wishes.changed().await.is_err() {
        return;
    }
    let handle = match rtnetlink::new_connection() {
        Ok((connection, handle, _)) => {
            tokio::spawn(connection);
            handle
        }
        Err(error) => return tracing::warn!(%error, "virtual addresses cannot be held: no netlink socket"),
    };
    let mut places: BTreeMap<Held, Place> = BTreeMap::new();
    loop {
        let wanted = wishes.borrow_and_update().clone();
        let gone: Vec<_> = places.extract_if(.., |held, _| !wanted.contains(held)).collect();
        for (held, place) in gone {
            release(&handle, &held, &place).await;
        }
        for held in &wanted {
            if !places.contains_key(held) {
                match open(&handle, held).await {
                    Ok(place) => drop(places.insert(held.clone(), place)),
                    Err(why) => tracing::debug!(address = %held.address, why, "cannot be held yet"),
                }
            }
        }
        for (held, place) in &mut places {
            turn(&handle, held, place).await;
        }
        tell_held(&tell, &places);
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            changed = wishes.changed() => if changed.is_err() { break },
        }
    }
    for (held, place) in &places {
        release(&handle, held, place).await;
    }
}

fn tell_held(tell: &watch::Sender<BTreeSet<Held>>, places: &BTreeMap<Held, Place>) {
    let held: BTreeSet<Held> = places
        .iter()
        .filter(|(_, place)| place.claim.is_held())
        .map(|(held, _)| held.clone())
        .collect();
    tell.send_if_modified(|last| {
        let changed = *last != held;
        for news in held.difference(last) {
            tracing::info!(address = %news.address, interface = news.interface, "holding the virtual address");
        }
        *last = held;
        changed
    });
}

async fn open(handle: &Handle, held: &Held) -> Result<Place, String> {
    let mut links = handle.link().get().match_name(held.interface.clone()).execute();
    let link = links.try_next().await.map_err(|error| error.to_string())?;
    let link = link.ok_or("the interface has gone")?;
    let mac = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Address(bytes) => Mac::try_from(&bytes[..]).ok(),
        _ => None,
    });
    let mac = mac.ok_or("the interface is no Ethernet")?;
    let index = link.header.index;
    let socket = LanSocket::open(index, frames::ARP).map_err(|error| error.to_string())?;
    let ask = held.address.addr().is_ipv4();
    Ok(Place {
        claim: Claim::new(mac, ask, Instant::now()),
        socket,
        index,
        mac,
    })
}

/// What the LAN says, then what is due.
async fn turn(handle: &Handle, held: &Held, place: &mut Place) {
    let mut frame = [0; FRAME];
    for _ in 0..MOST {
        let Ok(Some(length)) = place.socket.receive(&mut frame) else {
            break;
        };
        let claim = frames::claim(&frame[..length.min(FRAME)]);
        let Some((mac, _)) = claim.filter(|(_, address)| IpAddr::V4(*address) == held.address.addr()) else {
            continue;
        };
        if let Some(action) = place.claim.handle_claim(mac, Instant::now()) {
            carry_out(handle, held, place, action).await;
        }
    }
    while let Some(action) = place.claim.handle_timeout(Instant::now()) {
        carry_out(handle, held, place, action).await;
    }
}

async fn carry_out(handle: &Handle, held: &Held, place: &Place, action: Action) {
    let address = held.address.addr();
    let outcome = match action {
        Action::Hold => return hold(handle, held, place).await,
        Action::Release => return release(handle, held, place).await,
        Action::Probe => say(
            address,
            |v4| place.socket.send(&frames::probe(place.mac, v4)),
            |_| Ok(()),
        ),
        Action::Announce => say(
            address,
            |v4| place.socket.send(&frames::announcement(place.mac, v4)),
            |v6| place.socket.send(&frames::advertisement(place.mac, v6)),
        ),
    };
    if let Err(error) = outcome {
        tracing::debug!(%address, %error, ?action, "not said on the LAN");
    }
}

fn say(
    address: IpAddr,
    v4: impl FnOnce(std::net::Ipv4Addr) -> io::Result<()>,
    v6: impl FnOnce(std::net::Ipv6Addr) -> io::Result<()>,
) -> io::Result<()> {
    match address {
        IpAddr::V4(address) => v4(address),
        IpAddr::V6(address) => v6(address),
    }
}

async fn hold(handle: &Handle, held: &Held, place: &Place) {
    let mut request = handle
        .address()
        .add(place.index, held.address.addr(), held.address.prefix_len())
        .replace();
    let seconds = u32::try_from(LIFETIME.as_secs()).unwrap_or(1);
    let mut lifetime = CacheInfo::default();
    (lifetime.ifa_preferred, lifetime.ifa_valid) = (seconds, seconds);
    request
        .message_mut()
        .attributes
        .push(AddressAttribute::CacheInfo(lifetime));
    if let Err(error) = request.execute().await {
        tracing::warn!(address = %held.address, interface = held.interface, %error, "the kernel refuses the virtual address");
    }
}

/// What is not there need not be taken away.
async fn release(handle: &Handle, held: &Held, place: &Place) {
    let mut request = handle
        .address()
        .add(place.index, held.address.addr(), held.address.prefix_len());
    let message = request.message_mut().clone();
    if let Err(error) = handle.address().del(message).execute().await {
        tracing::debug!(address = %held.address, %error, "the virtual address was not there");
    }
    tracing::info!(address = %held.address, interface = held.interface, "not holding the virtual address any more");
}
