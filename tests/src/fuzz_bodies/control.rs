//! What peers say to this node's lane.

use std::net::Ipv6Addr;

use meshnode_dataplane::CheckTarget;
use meshnode_dataplane::control::{self, MOST, Message};
use meshnode_dataplane::packet::{Packet, udp};

const OURS: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1);
const THEIRS: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 2);

/// Any bytes as a control datagram: reading comes to an end, after the first error at the latest, and what was understood means
/// the same when we say it.
pub fn control(data: &[u8]) {
    let mut broken = false;
    for message in control::messages(data) {
        assert!(!broken, "something was read behind what makes no sense");
        match message {
            Ok(message) => assert_eq!(control::messages(&said(&message)).next(), Some(Ok(message))),
            Err(_) => broken = true,
        }
    }
}

/// The payload of a message.
fn said(message: &Message) -> Vec<u8> {
    let mut packet = [0; MOST];
    let len = message.write(THEIRS, OURS, &mut packet);
    let packet = Packet::parse(&packet[..len]).expect("we made it");
    let datagram = udp::parse_v6(&packet).expect("we made it");
    datagram.payload.to_vec()
}

fn samples() -> Vec<Message> {
    let other = [7; 32];
    vec![
        Message::Bind { other, answers: true },
        Message::Offer { other },
        Message::Unbind { other },
        Message::Refused {
            other,
            reason: control::Refusal::NoPath,
        },
        Message::Bound {
            other,
            session: meshnode_dataplane::relay::Session(9),
            leg: control::Leg::default(),
        },
        Message::Report {
            target: CheckTarget::Tcp(([10, 0, 0, 5], 443).into()),
            passes: true,
        },
    ]
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let all: Vec<u8> = samples().iter().flat_map(|m| said(m).split_off(1)).collect();
    let together = [&[control::VERSION][..], &all].concat();
    samples().iter().map(said).chain([together]).collect()
}

/// The same as inner packets of the neighbour.
pub(super) fn packets() -> Vec<Vec<u8>> {
    let written = |message: &Message| {
        let mut packet = [0; MOST];
        let len = message.write(THEIRS, OURS, &mut packet);
        packet[..len].to_vec()
    };
    samples().iter().map(written).collect()
}
