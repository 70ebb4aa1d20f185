use chitchat::{ChitchatMessage, Deserializable, Serializable};
use proptest::prelude::*;

use super::*;

const PORT: u16 = 1;
const UNWELCOME: u8 = 77;

#[derive(Clone, Copy)]
struct TestRow {
    id: RowId,
    heartbeat: u64,
    version: u64,
}

fn row(n: u16) -> TestRow {
    let address = Ipv6Addr::new(0xfd11, 0x2233, 0x4455, 0, 0, 0, 0, n);
    TestRow {
        id: RowId {
            address,
            generation: 0,
        },
        heartbeat: 5,
        version: 3,
    }
}

fn config() -> GuardConfig {
    GuardConfig {
        cluster: "mesh".into(),
        prefix: "fd11:2233:4455::/48".parse().unwrap(),
        port: PORT,
        max_rows: 100,
    }
}

fn own() -> OwnRow {
    OwnRow {
        id: row(1).id,
        heartbeat: 10,
        max_version: 10,
    }
}

// Members are 1 to 9; a value is authentic when it ends with its row's last address byte.
struct Members;

impl Vouch for Members {
    fn admits(&mut self, row: &RowId, vouched: bool) -> bool {
        vouched || (1..10).contains(&row.address.octets()[15])
    }

    fn judge(&mut self, address: Ipv6Addr, value: Value<'_>) -> Authenticity {
        let signed = match value {
            Value::Record(bytes) if bytes.first() == Some(&UNWELCOME) => return Authenticity::Unwelcome,
            Value::Record(bytes) => bytes.last() == Some(&address.octets()[15]),
            Value::Revocation(id, bytes) => bytes.starts_with(&id),
        };
        if signed {
            Authenticity::Good
        } else {
            Authenticity::Forged
        }
    }
}

#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn new(kind: u8) -> Self {
        let mut bytes = MAGIC.to_le_bytes().to_vec();
        bytes.extend([0, kind]);
        Message(bytes)
    }

    fn digest(mut self, rows: &[TestRow]) -> Self {
        self.0.extend((rows.len() as u16).to_le_bytes());
        for row in rows {
            put_id(&mut self.0, &row.id, PORT);
            for counter in [row.heartbeat, 0, row.version] {
                self.0.extend(counter.to_le_bytes());
            }
        }
        self
    }

    fn cluster(mut self, name: &str) -> Self {
        put_string(&mut self.0, name);
        self
    }

    fn plain_delta(mut self, operations: &Operations) -> Self {
        for block in operations.0.chunks(60_000) {
            self.0.push(2);
            self.0.extend((block.len() as u16).to_le_bytes());
            self.0.extend_from_slice(block);
        }
        self.0.push(0);
        self
    }

    fn zstd_blocks(mut self, blocks: &[Vec<u8>]) -> Self {
        for block in blocks {
            let packed = zstd::bulk::compress(block, 0).unwrap();
            self.0.push(1);
            self.0.extend((packed.len() as u16).to_le_bytes());
            self.0.extend(packed);
        }
        self.0.push(0);
        self
    }

    fn inspect(&self) -> Result<Inspected<'_>, Violation> {
        inspect(&self.0, &config(), &own(), &mut Members)
    }
}

#[derive(Default)]
struct Operations(Vec<u8>);

impl Operations {
    fn node(mut self, id: &RowId, last_gc: u64, from: u64) -> Self {
        self.0.push(0);
        put_id(&mut self.0, id, PORT);
        self.0.extend(last_gc.to_le_bytes());
        self.0.extend(from.to_le_bytes());
        self
    }

    fn value(mut self, key: &str, value: &str, version: u64, status: u8) -> Self {
        self.0.push(1);
        put_string(&mut self.0, key);
        put_string(&mut self.0, value);
        self.0.extend(version.to_le_bytes());
        self.0.push(status);
        self
    }

    fn max_version(mut self, version: u64) -> Self {
        self.0.push(2);
        self.0.extend(version.to_le_bytes());
        self
    }
}

fn put_string(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u16).to_le_bytes());
    bytes.extend(text.as_bytes());
}

fn put_id(bytes: &mut Vec<u8>, id: &RowId, port: u16) {
    put_string(bytes, "");
    bytes.extend(id.generation.to_le_bytes());
    bytes.push(6);
    bytes.extend(id.address.octets());
    bytes.extend(port.to_le_bytes());
}

fn record_of(n: u8) -> String {
    encode_value(&[1, 2, 3, n])
}

fn ack(operations: &Operations) -> Message {
    Message::new(ACK).plain_delta(operations)
}

#[test]
fn an_ordinary_exchange_passes_untouched() {
    let syn = Message::new(SYN).digest(&[row(1), row(2)]).cluster("mesh");
    assert!(matches!(syn.inspect().unwrap().message, Cow::Borrowed(_)));
    let operations = Operations::default()
        .node(&row(2).id, 0, 0)
        .value("record", &record_of(2), 1, 0)
        .node(&row(3).id, 0, 2)
        .max_version(7);
    let syn_ack = Message::new(SYN_ACK)
        .digest(&[row(1), row(2), row(3)])
        .zstd_blocks(&[operations.0]);
    let inspected = syn_ack.inspect().unwrap();
    assert_eq!(inspected.records, [(row(2).id.address, vec![1, 2, 3, 2])]);
    assert_eq!(inspected.stripped, 0);
    ChitchatMessage::deserialize(&mut &inspected.message[..]).unwrap();
    assert!(Message::new(BAD_CLUSTER).inspect().is_ok());
}

#[test]
fn chitchats_own_encoding_is_what_the_guard_reads() {
    let syn = Message::new(SYN).digest(&[row(1), row(2)]).cluster("mesh");
    let decoded = ChitchatMessage::deserialize(&mut &syn.0[..]).unwrap();
    assert_eq!(decoded.serialize_to_vec(), syn.0);
}

#[test]
fn invented_members_take_no_row() {
    let rows: Vec<_> = (1..80).map(row).collect();
    let syn = Message::new(SYN).digest(&rows).cluster("mesh");
    let inspected = syn.inspect().unwrap();
    assert_eq!(inspected.stripped, 70);
    let expected = Message::new(SYN).digest(&rows[..9]).cluster("mesh");
    assert_eq!(inspected.message[..], expected.0[..]);
}

#[test]
fn a_stranger_with_its_own_signed_record_takes_its_row() {
    let operations = Operations::default()
        .node(&row(20).id, 0, 0)
        .value("record", &record_of(20), 1, 0);
    let syn_ack = Message::new(SYN_ACK)
        .digest(&[row(20), row(21)])
        .plain_delta(&operations);
    let inspected = syn_ack.inspect().unwrap();
    assert_eq!(inspected.stripped, 1);
    let expected = Message::new(SYN_ACK).digest(&[row(20)]).plain_delta(&operations);
    assert_eq!(inspected.message[..], expected.0[..]);
}

#[test]
fn a_record_that_nobody_wants_makes_no_room_for_its_row() {
    let unwelcome = encode_value(&[UNWELCOME, 20]);
    let operations = Operations::default()
        .node(&row(20).id, 0, 0)
        .value("record", &unwelcome, 1, 0);
    let syn_ack = Message::new(SYN_ACK).digest(&[row(20)]).plain_delta(&operations);
    let inspected = syn_ack.inspect().unwrap();
    assert_eq!((inspected.stripped, inspected.records.len()), (1, 0));
}

#[test]
fn a_message_of_another_cluster_is_refused() {
    let syn = Message::new(SYN).digest(&[row(1)]).cluster("other");
    assert_eq!(syn.inspect().unwrap_err(), Violation::OtherCluster);
}

#[test]
fn what_claims_to_know_our_row_better_is_refused_without_blame() {
    let mut ahead = row(1);
    ahead.heartbeat = 11;
    let syn = Message::new(SYN).digest(&[ahead]).cluster("mesh");
    let violation = syn.inspect().unwrap_err();
    assert_eq!(
        violation,
        Violation::OwnRowAhead {
            heartbeat: 11,
            max_version: 3
        }
    );
    assert!(!violation.blames_sender());
}

#[test]
fn forged_updates_of_our_own_row_are_refused() {
    let id = own().id;
    for operations in [
        Operations::default()
            .node(&id, 0, 0)
            .value("record", &record_of(1), 11, 0),
        Operations::default().node(&id, 0, 0).max_version(11),
        Operations::default()
            .node(&id, 11, 0)
            .value("record", &record_of(1), 10, 0),
    ] {
        assert!(matches!(
            ack(&operations).inspect(),
            Err(Violation::OwnRowAhead { .. })
        ));
    }
    let old_news = Operations::default()
        .node(&id, 0, 0)
        .value("record", &record_of(1), 10, 0);
    assert!(ack(&old_news).inspect().unwrap().records.is_empty());
}

#[test]
fn forged_updates_of_another_row_are_refused() {
    let node = || Operations::default().node(&row(3).id, 0, 0);
    for (operations, violation) in [
        (node().value("record", &record_of(2), 1, 0), Violation::BadValue),
        (node().value("record", "%%%", 1, 0), Violation::BadValue),
        (node().value("record", "", 1, 1), Violation::BadKey),
        (node().value("record", &record_of(3), 1, 2), Violation::BadKey),
        (node().value("note", &record_of(3), 1, 0), Violation::BadKey),
        (
            node().value("record", &record_of(3), MAX_COUNTER + 1, 0),
            Violation::BadCounter,
        ),
        (node().max_version(u64::MAX), Violation::BadCounter),
        (
            node().value("record", &record_of(3), 5, 0).max_version(4),
            Violation::BadCounter,
        ),
        (
            node()
                .value("record", &record_of(3), 5, 0)
                .value("record", &record_of(3), 5, 0),
            Violation::BadCounter,
        ),
        (node().node(&row(3).id, 0, 0), Violation::DuplicateRow),
        (Operations::default().max_version(4), Violation::Malformed),
    ] {
        assert_eq!(ack(&operations).inspect().unwrap_err(), violation);
        assert!(violation.blames_sender());
    }
}

#[test]
fn a_revocation_is_carried_by_anyone_under_its_own_identifier() {
    let id = [0xab; 16];
    let key = revocation_key(&id);
    assert_eq!(key, format!("revocation/{}", "ab".repeat(16)));
    let carried = Operations::default()
        .node(&row(4).id, 0, 0)
        .value(&key, &encode_value(&id), 1, 0);
    assert_eq!(ack(&carried).inspect().unwrap().revocations, [id.to_vec()]);
    let dropped = Operations::default().node(&row(4).id, 0, 0).value(&key, "", 1, 1);
    assert!(ack(&dropped).inspect().is_ok());
    let forged = Operations::default()
        .node(&row(4).id, 0, 0)
        .value(&key, &encode_value(&[1; 16]), 1, 0);
    assert_eq!(ack(&forged).inspect().unwrap_err(), Violation::BadValue);
    let everyone = (2..8).fold(Operations::default(), |operations, n| {
        operations
            .node(&row(n).id, 0, 0)
            .value(&key, &encode_value(&id), 1, 0)
    });
    assert_eq!(ack(&everyone).inspect().unwrap().revocations, [id.to_vec()]);
    let upper = key.to_uppercase().replace("REVOCATION", "revocation");
    let unusual = Operations::default()
        .node(&row(4).id, 0, 0)
        .value(&upper, &encode_value(&id), 1, 0);
    assert_eq!(ack(&unusual).inspect().unwrap_err(), Violation::BadKey);
}

#[test]
fn a_message_that_unfolds_to_hundreds_of_megabytes_is_refused() {
    let blocks: Vec<_> = (0..30).map(|_| vec![0_u8; 65_535]).collect();
    let bomb = Message::new(ACK).zstd_blocks(&blocks);
    assert!(bomb.0.len() < 4_000);
    assert_eq!(bomb.inspect().unwrap_err(), Violation::Expands);
    let empty: Vec<_> = (0..40).map(|_| Vec::new()).collect();
    assert_eq!(
        Message::new(ACK).zstd_blocks(&empty).inspect().unwrap_err(),
        Violation::TooManyBlocks
    );
    let beyond_a_block = Message::new(ACK).zstd_blocks(&[vec![0; 65_536]]);
    assert_eq!(beyond_a_block.inspect().unwrap_err(), Violation::Expands);
    assert_eq!(
        Message(vec![0; MAX_MESSAGE + 1]).inspect().unwrap_err(),
        Violation::TooLong
    );
}

#[test]
fn rows_outside_the_mesh_are_refused() {
    let mut outside = row(2);
    outside.id.address = "fd99::1".parse().unwrap();
    assert_eq!(
        Message::new(SYN)
            .digest(&[outside])
            .cluster("mesh")
            .inspect()
            .unwrap_err(),
        Violation::ForeignId
    );
    let mut port = Message::new(SYN).digest(&[row(2)]).cluster("mesh");
    let at = 4 + 2 + 2 + 8 + 1 + 16;
    port.0[at] = 9;
    assert_eq!(port.inspect().unwrap_err(), Violation::ForeignId);
    let mut generation = row(2);
    generation.id.generation = u64::MAX;
    assert_eq!(
        Message::new(SYN)
            .digest(&[generation])
            .cluster("mesh")
            .inspect()
            .unwrap_err(),
        Violation::BadCounter
    );
}

#[test]
fn other_generations_of_our_own_row_are_no_exception() {
    let mut stranger = own();
    stranger.id = row(50).id;
    let mut other = row(50);
    other.id.generation = 7;
    let syn = Message::new(SYN).digest(&[row(50), other]).cluster("mesh");
    let inspected = inspect(&syn.0, &config(), &stranger, &mut Members).unwrap();
    assert_eq!(inspected.stripped, 1);
}

#[test]
fn more_rows_than_the_table_holds_are_refused() {
    let rows: Vec<_> = (1..=101).map(row).collect();
    let syn = Message::new(SYN).digest(&rows).cluster("mesh");
    assert_eq!(syn.inspect().unwrap_err(), Violation::TooManyRows);
    let twice = Message::new(SYN).digest(&[row(2), row(2)]).cluster("mesh");
    assert_eq!(twice.inspect().unwrap_err(), Violation::DuplicateRow);
}

#[test]
fn truncated_anywhere_or_with_bytes_left_over_is_malformed() {
    let operations = Operations::default()
        .node(&row(2).id, 0, 0)
        .value("record", &record_of(2), 1, 0);
    let whole = Message::new(SYN_ACK)
        .digest(&[row(1), row(2)])
        .plain_delta(&operations);
    for length in 0..whole.0.len() {
        assert!(
            Message(whole.0[..length].to_vec()).inspect().is_err(),
            "cut at {length}"
        );
    }
    let mut longer = Message(whole.0.clone());
    longer.0.push(0);
    assert_eq!(longer.inspect().unwrap_err(), Violation::Malformed);
}

proptest! {
    #[test]
    fn whatever_passes_the_guard_chitchat_decodes(
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        version in 0_u64..20,
    ) {
        let operations = Operations::default()
            .node(&row(2).id, 0, 0)
            .value("record", &record_of(2), version, 0)
            .node(&row(20).id, 0, 0)
            .value("record", &record_of(20), 3, 0);
        let mut message = Message::new(SYN_ACK).digest(&[row(1), row(2), row(20)]).plain_delta(&operations);
        for (index, byte) in flips {
            let length = message.0.len();
            message.0[index.index(length)] = byte;
        }
        if let Ok(inspected) = message.inspect() {
            prop_assert!(ChitchatMessage::deserialize(&mut &inspected.message[..]).is_ok());
        }
    }

    #[test]
    fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut message = Message::new(bytes.first().copied().unwrap_or(0) % 4);
        message.0.extend(bytes);
        let _ = message.inspect();
    }
}
