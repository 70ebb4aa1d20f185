//! What comes back from targets behind gateways, or pretends to.

use std::net::IpAddr;

use etherparse::{IcmpEchoHeader, PacketBuilder, PacketBuilderStep};
use meshnode_dataplane::CheckTarget;
use meshnode_dataplane::check::wire::{MOST, Question, may_answer};
use meshnode_dataplane::packet::Packet;

const NONCE: u64 = 0x0123_4567_89ab_cdef;

const V4: [[u8; 4]; 2] = [[10, 1, 0, 7], [10, 2, 0, 5]];
const V6: [[u8; 16]; 2] = [[0xfd; 16], [0xfe; 16]];

/// Any bytes as a packet for this node: what answers a question is between the right two, was worth a look, carries what was
/// sent, and answers no other question.
pub fn check(data: &[u8]) {
    let Ok(packet) = Packet::parse(data) else { return };
    for question in questions(NONCE) {
        let Some(answer) = question.answer(&packet) else {
            continue;
        };
        assert!(may_answer(&packet), "an answer that nobody looks at");
        assert_eq!(
            (packet.source, packet.destination),
            (question.target.address(), question.source)
        );
        assert_eq!(question.answer(&packet), Some(answer));
        for other in questions(NONCE.rotate_left(17)) {
            assert_eq!(other.answer(&packet), None);
        }
    }
}

fn questions(nonce: u64) -> [Question; 4] {
    let question = |target: CheckTarget, source: IpAddr| Question {
        target,
        source,
        nonce,
    };
    [
        question(CheckTarget::Icmp(V4[1].into()), V4[0].into()),
        question(CheckTarget::Icmp(V6[1].into()), V6[0].into()),
        question(CheckTarget::Tcp((V4[1], 443).into()), V4[0].into()),
        question(CheckTarget::Tcp((V6[1], 443).into()), V6[0].into()),
    ]
}

/// The questions themselves, and an honest answer to each.
pub(super) fn seeds() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for question in questions(NONCE) {
        let mut packet = [0; MOST];
        let len = question.write(&mut packet).expect("one family");
        let start = Packet::parse(&packet[..len]).expect("we made it").payload;
        all.push(answer(&question, &packet[start..len]));
        all.push(packet[..len].to_vec());
    }
    all
}

fn answer(question: &Question, asked: &[u8]) -> Vec<u8> {
    let v4 = || PacketBuilder::ipv4(V4[1], V4[0], 61);
    let v6 = || PacketBuilder::ipv6(V6[1], V6[0], 61);
    let word = |at: usize| u16::from_be_bytes([asked[at], asked[at + 1]]);
    let echo = || IcmpEchoHeader {
        id: word(4),
        seq: word(6),
    };
    match (question.target, question.source.is_ipv4()) {
        (CheckTarget::Icmp(_), true) => built(v4().icmpv4_echo_reply(echo().id, echo().seq), &asked[8..]),
        (CheckTarget::Icmp(_), false) => built(v6().icmpv6_echo_reply(echo().id, echo().seq), &asked[8..]),
        (CheckTarget::Tcp(_), is_v4) => {
            let sequence = u32::from(word(4)) << 16 | u32::from(word(6));
            let builder = if is_v4 { v4() } else { v6() };
            let tcp = builder
                .tcp(443, word(0), 77, 1_000)
                .syn()
                .ack(sequence.wrapping_add(1));
            built(tcp, &[])
        }
    }
}

/// The builders of three protocols have one method of that name each.
trait Build {
    fn build(self, payload: &[u8]) -> Vec<u8>;
}

macro_rules! build {
    ($($header:ty),+) => {
        $(impl Build for PacketBuilderStep<$header> {
            fn build(self, payload: &[u8]) -> Vec<u8> {
                let mut out = Vec::new();
                self.write(&mut out, payload).expect("writing to memory does not fail");
                out
            }
        })+
    };
}

build!(
    etherparse::Icmpv4Header,
    etherparse::Icmpv6Header,
    etherparse::TcpHeader
);

fn built(builder: impl Build, payload: &[u8]) -> Vec<u8> {
    builder.build(payload)
}
