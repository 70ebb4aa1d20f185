use super::*;
use etherparse::{
    IcmpEchoHeader, Icmpv4Header, Icmpv4Slice, Icmpv4Type, Icmpv6Header, Icmpv6Slice, Icmpv6Type, IpNumber,
    Ipv4Header, Ipv6FlowLabel, Ipv6Header, TcpHeader, TcpSlice,
};
use proptest::prelude::*;

const V4: [&str; 2] = ["10.1.0.7", "10.2.0.5"];
const V6: [&str; 2] = ["fd00:1::7", "fd00:2::5"];

fn icmp([from, to]: [&str; 2], nonce: u64) -> Question {
    Question {
        target: CheckTarget::Icmp(to.parse().unwrap()),
        source: from.parse().unwrap(),
        nonce,
    }
}

fn tcp([from, to]: [&str; 2], nonce: u64) -> Question {
    Question {
        target: CheckTarget::Tcp((to.parse::<IpAddr>().unwrap(), 443).into()),
        source: from.parse().unwrap(),
        nonce,
    }
}

fn written(question: &Question) -> Vec<u8> {
    let mut out = [0xee; MOST];
    let len = question.write(&mut out).unwrap();
    out[..len].to_vec()
}

fn reset(question: &Question) -> Vec<u8> {
    let mut out = [0xee; MOST];
    let len = question.write_reset(&mut out).unwrap();
    out[..len].to_vec()
}

fn answer(question: &Question, packet: &[u8]) -> Option<Answer> {
    let packet = Packet::parse(packet).unwrap();
    let answer = question.answer(&packet);
    assert!(
        answer.is_none() || may_answer(&packet),
        "the answer was not looked at"
    );
    answer
}

/// A packet of the target's, back to where the question came from.
fn back(question: &Question, protocol: IpNumber, upper: &[u8]) -> Vec<u8> {
    let mut out = vec![];
    match (question.target.address(), question.source) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let header = Ipv4Header::new(upper.len() as u16, 61, protocol, from.octets(), to.octets());
            header.unwrap().write(&mut out).unwrap();
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => Ipv6Header {
            traffic_class: 0,
            flow_label: Ipv6FlowLabel::ZERO,
            payload_length: upper.len() as u16,
            next_header: protocol,
            hop_limit: 61,
            source: from.octets(),
            destination: to.octets(),
        }
        .write(&mut out)
        .unwrap(),
        _ => panic!("two families"),
    }
    out.extend(upper);
    out
}

/// What an honest host answers to an echo request.
fn reply(question: &Question) -> Vec<u8> {
    let bytes = written(question);
    let packet = Packet::parse(&bytes).unwrap();
    let (id_and_number, payload) = packet.bytes[packet.payload + 4..].split_at(4);
    let echo = IcmpEchoHeader {
        id: u16::from_be_bytes([id_and_number[0], id_and_number[1]]),
        seq: u16::from_be_bytes([id_and_number[2], id_and_number[3]]),
    };
    let mut upper = vec![];
    match (question.target.address(), question.source) {
        (IpAddr::V4(_), _) => {
            let header = Icmpv4Header::with_checksum(Icmpv4Type::EchoReply(echo), payload);
            header.write(&mut upper).unwrap();
            upper.extend(payload);
            back(question, IpNumber::ICMP, &upper)
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let kind = Icmpv6Type::EchoReply(echo);
            let header = Icmpv6Header::with_checksum(kind, from.octets(), to.octets(), payload);
            header.unwrap().write(&mut upper).unwrap();
            upper.extend(payload);
            back(question, IpNumber::IPV6_ICMP, &upper)
        }
        _ => panic!("two families"),
    }
}

/// What an honest host answers to a SYN, changed by `edit`.
fn segment(question: &Question, edit: impl FnOnce(&mut TcpHeader)) -> Vec<u8> {
    let bytes = written(question);
    let packet = Packet::parse(&bytes).unwrap();
    let syn = TcpSlice::from_slice(&packet.bytes[packet.payload..]).unwrap();
    let mut header = TcpHeader::new(syn.destination_port(), syn.source_port(), 77, 1_000);
    header.acknowledgment_number = syn.sequence_number().wrapping_add(1);
    header.ack = true;
    edit(&mut header);
    header.checksum = match (question.target.address(), question.source) {
        (IpAddr::V4(from), IpAddr::V4(to)) => header.calc_checksum_ipv4_raw(from.octets(), to.octets(), &[]),
        (IpAddr::V6(from), IpAddr::V6(to)) => header.calc_checksum_ipv6_raw(from.octets(), to.octets(), &[]),
        _ => panic!("two families"),
    }
    .unwrap();
    let mut upper = vec![];
    header.write(&mut upper).unwrap();
    back(question, IpNumber::TCP, &upper)
}

fn accepted(question: &Question) -> Vec<u8> {
    segment(question, |tcp| tcp.syn = true)
}

fn refused(question: &Question) -> Vec<u8> {
    segment(question, |tcp| tcp.rst = true)
}

/// The upper layer of a packet from question to target, with all addresses as they should be.
fn upper<'a>(question: &Question, bytes: &'a [u8]) -> &'a [u8] {
    let packet = Packet::parse(bytes).unwrap();
    assert_eq!(packet.bytes.len(), bytes.len());
    assert_eq!(
        (packet.source, packet.destination),
        (question.source, question.target.address())
    );
    if bytes[0] >> 4 == 4 {
        assert_eq!(checksum::finish(checksum::add(0, &bytes[..20])), 0);
    }
    &packet.bytes[packet.payload..]
}

fn assert_tcp_sum(question: &Question, segment: &[u8]) {
    let tcp = TcpSlice::from_slice(segment).unwrap();
    let wanted = match (question.source, question.target.address()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => tcp.calc_checksum_ipv4(from.octets(), to.octets()),
        (IpAddr::V6(from), IpAddr::V6(to)) => tcp.calc_checksum_ipv6(from.octets(), to.octets()),
        _ => panic!("two families"),
    };
    assert_eq!(Ok(tcp.checksum()), wanted);
}

proptest! {
    #[test]
    fn an_echo_request_is_one(nonce: u64) {
        let question = icmp(V4, nonce);
        let bytes = written(&question);
        let slice = Icmpv4Slice::from_slice(upper(&question, &bytes)).unwrap();
        prop_assert!(matches!(slice.icmp_type(), Icmpv4Type::EchoRequest(_)));
        prop_assert_eq!(checksum::finish(checksum::add(0, slice.slice())), 0);
        let question = icmp(V6, nonce);
        let bytes = written(&question);
        let slice = Icmpv6Slice::from_slice(upper(&question, &bytes)).unwrap();
        prop_assert!(matches!(slice.icmp_type(), Icmpv6Type::EchoRequest(_)));
        let (IpAddr::V6(from), IpAddr::V6(to)) = (question.source, question.target.address()) else { panic!() };
        prop_assert!(slice.is_checksum_valid(from.octets(), to.octets()));
    }

    #[test]
    fn a_syn_is_one_and_the_reset_ends_what_it_began(nonce: u64) {
        for question in [tcp(V4, nonce), tcp(V6, nonce)] {
            let (syn, rst) = (written(&question), reset(&question));
            let (syn, rst) = (upper(&question, &syn), upper(&question, &rst));
            assert_tcp_sum(&question, syn);
            assert_tcp_sum(&question, rst);
            let (syn, rst) = (TcpSlice::from_slice(syn).unwrap(), TcpSlice::from_slice(rst).unwrap());
            prop_assert!(syn.syn() && !syn.ack() && !syn.rst());
            prop_assert!(rst.rst() && !rst.syn() && !rst.ack());
            prop_assert!(syn.source_port() > 60_999, "a port of the host's own connections");
            prop_assert_eq!((syn.source_port(), syn.destination_port()), (rst.source_port(), rst.destination_port()));
            prop_assert_eq!(rst.sequence_number(), syn.sequence_number().wrapping_add(1));
        }
    }

    #[test]
    fn each_question_knows_its_own_answer_and_no_other(nonce: u64, other: u64) {
        prop_assume!(nonce != other);
        for ends in [V4, V6] {
            let (echo, connect) = (icmp(ends, nonce), tcp(ends, nonce));
            prop_assert_eq!(answer(&echo, &reply(&echo)), Some(Answer::Echo));
            prop_assert_eq!(answer(&connect, &accepted(&connect)), Some(Answer::Accepted));
            prop_assert_eq!(answer(&connect, &refused(&connect)), Some(Answer::Refused));
            prop_assert_eq!(answer(&icmp(ends, other), &reply(&echo)), None);
            prop_assert_eq!(answer(&echo, &accepted(&connect)), None);
            prop_assert_eq!(answer(&connect, &reply(&echo)), None);
            if nonce as u32 != other as u32 {
                prop_assert_eq!(answer(&tcp(ends, other), &accepted(&connect)), None);
            }
        }
    }

    /// Also with the question itself, which a target that bounces everything sends back.
    #[test]
    fn an_answer_with_any_bit_flipped_is_none(nonce: u64, bit in 0usize..64 * 8) {
        for (question, bytes) in [
            (icmp(V4, nonce), reply(&icmp(V4, nonce))),
            (icmp(V6, nonce), reply(&icmp(V6, nonce))),
            (tcp(V4, nonce), accepted(&tcp(V4, nonce))),
            (tcp(V6, nonce), refused(&tcp(V6, nonce))),
        ] {
            prop_assert_eq!(answer(&question, &written(&question)), None);
            let start = if bytes[0] >> 4 == 4 { 20 } else { 40 };
            let at = start + bit / 8;
            if at < bytes.len() {
                let mut broken = bytes.clone();
                broken[at] ^= 1 << (bit % 8);
                prop_assert_eq!(answer(&question, &broken), None, "byte {}", at);
            }
        }
    }

    #[test]
    fn any_bytes_are_looked_at_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..100), nonce: u64) {
        if let Ok(packet) = Packet::parse(&bytes) {
            let _may = may_answer(&packet);
            for question in [icmp(V4, nonce), icmp(V6, nonce), tcp(V4, nonce), tcp(V6, nonce)] {
                prop_assert_eq!(question.answer(&packet), None);
            }
        }
    }
}

#[test]
fn a_hosts_own_ping_and_its_connections_are_not_looked_at() {
    let question = icmp(V4, 1);
    let mut upper = vec![];
    let echo = IcmpEchoHeader { id: 0, seq: 1 };
    let payload = [7; 56];
    Icmpv4Header::with_checksum(Icmpv4Type::EchoReply(echo), &payload)
        .write(&mut upper)
        .unwrap();
    upper.extend(payload);
    let pong = back(&question, IpNumber::ICMP, &upper);
    assert!(!may_answer(&Packet::parse(&pong).unwrap()));
    let question = tcp(V4, 1);
    for packet in [
        segment(&question, |tcp| tcp.psh = true),
        segment(&question, |tcp| (tcp.syn, tcp.destination_port) = (true, 60_999)),
    ] {
        assert!(!may_answer(&Packet::parse(&packet).unwrap()));
    }
}

#[test]
fn an_acknowledgement_of_something_else_is_no_answer() {
    let question = tcp(V6, 99);
    let late = segment(&question, |tcp| (tcp.syn, tcp.acknowledgment_number) = (true, 5));
    let from_elsewhere = segment(&question, |tcp| (tcp.syn, tcp.source_port) = (true, 444));
    let both = segment(&question, |tcp| (tcp.syn, tcp.rst) = (true, true));
    for packet in [late, from_elsewhere, both] {
        assert_eq!(answer(&question, &packet), None);
    }
}

#[test]
fn two_families_make_no_question() {
    let question = Question {
        target: CheckTarget::Icmp(V6[1].parse().unwrap()),
        source: V4[0].parse().unwrap(),
        nonce: 1,
    };
    assert_eq!(question.write(&mut [0; MOST]), None);
}
