use super::*;
use crate::packet::{Packet, udp::parse_v6};
use crate::path::underway::REPLY_TIMEOUT;

const MS: Duration = Duration::from_millis(1);

fn start() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "a test's first instant")]
    Instant::now()
}

struct World {
    start: Instant,
    clock: NtpClock,
    sender: Sender,
    reflector: Reflector,
    a: Ipv6Addr,
    b: Ipv6Addr,
}

impl World {
    fn new() -> World {
        let start = start();
        let clock = NtpClock::new(start, Duration::from_secs(1_800_000_000));
        let (a, b) = ("fd00::a".parse().unwrap(), "fd00::b".parse().unwrap());
        World {
            start,
            clock,
            sender: Sender::new(start),
            reflector: Reflector::default(),
            a,
            b,
        }
    }

    fn probe(&mut self, now: Instant) -> [u8; HEALTH_PROBE] {
        let report = Report {
            heard: Some((7, 70)),
            stalled: false,
        };
        self.sender
            .probe((self.a, self.b), None, &report, &self.clock, now)
    }

    fn reflect(&mut self, probe: &[u8], now: Instant) -> Vec<u8> {
        let mut out = vec![0; 2000];
        let packet = Packet::parse(probe).unwrap();
        let udp = parse_v6(&packet).unwrap();
        assert_eq!(udp.to.port, PORT);
        let len = self
            .reflector
            .reflect(&udp, 255, &Report::default(), &self.clock, now, &mut out)
            .unwrap();
        out.truncate(len);
        out
    }

    fn reply(&mut self, reply: &[u8], now: Instant) -> Option<Measured> {
        let packet = Packet::parse(reply).unwrap();
        let udp = parse_v6(&packet).unwrap();
        assert_eq!((udp.from.port, udp.to.port), (PORT, SENDER_PORT));
        self.sender.handle_reply(udp.payload, &self.clock, now)
    }

    /// Probes every 100 ms for `seconds`; whether the i-th is lost there or back is for the closures to say.
    fn run(
        &mut self,
        seconds: u64,
        there: impl Fn(u64) -> bool,
        back: impl Fn(u64) -> bool,
        heard: bool,
    ) -> Instant {
        for i in 0..seconds * 10 {
            let now = self.start + i as u32 * 100 * MS;
            self.sender.handle_timeout(heard, now);
            let probe = self.probe(now);
            if !there(i) {
                let reply = self.reflect(&probe, now + 10 * MS);
                if !back(i) {
                    self.reply(&reply, now + 25 * MS).unwrap();
                }
            }
        }
        self.start + Duration::from_secs(seconds)
    }
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() < 0.03
}

#[test]
fn a_round_trip_is_what_the_path_took() {
    let mut world = World::new();
    let now = world.run(5, |_| false, |_| false, true);
    let rtt = world.sender.round_trips;
    assert_eq!(
        (rtt.last, rtt.min, rtt.smoothed),
        (Some(25 * MS), Some(25 * MS), Some(25 * MS))
    );
    assert_eq!(rtt.jitter, Some(Duration::ZERO));
    assert_eq!(world.sender.ratios(Window::TenSeconds, now), Ratios::default());
}

#[test]
fn the_time_inside_the_reflector_is_no_path() {
    let mut world = World::new();
    let now = world.start;
    let probe = world.probe(now);
    let mut reply = world.reflect(&probe, now + 10 * MS);
    let later = world.clock.stamp(now + 40 * MS);
    let payload = udp::OVERHEAD_V6;
    reply[payload + 4..payload + 12].copy_from_slice(&later.to_be_bytes());
    let (b, a) = (
        Port {
            address: world.b,
            port: PORT,
        },
        Port {
            address: world.a,
            port: SENDER_PORT,
        },
    );
    udp::write_v6(&mut reply, b, a);
    let rtt = world.reply(&reply, now + 55 * MS).unwrap().rtt;
    assert!(rtt.abs_diff(25 * MS) < MS, "{rtt:?}");
}

#[test]
fn loss_on_the_way_there_is_not_loss_on_the_way_back() {
    let mut world = World::new();
    let now = world.run(10, |i| i % 5 == 3, |_| false, true);
    let ratios = world.sender.ratios(Window::TenSeconds, now);
    assert!(near(ratios.outbound, 0.2) && ratios.inbound == 0.0, "{ratios:?}");
}

#[test]
fn loss_on_the_way_back_is_not_loss_on_the_way_there() {
    let mut world = World::new();
    let now = world.run(10, |_| false, |i| i % 5 == 3, true);
    let ratios = world.sender.ratios(Window::TenSeconds, now);
    assert!(near(ratios.inbound, 0.2) && ratios.outbound == 0.0, "{ratios:?}");
}

#[test]
fn loss_on_both_ways_is_told_apart() {
    let mut world = World::new();
    let now = world.run(10, |i| i % 2 == 1, |i| i % 8 == 4, true);
    let ratios = world.sender.ratios(Window::TenSeconds, now);
    assert!(
        near(ratios.outbound, 0.5) && near(ratios.inbound, 0.25),
        "{ratios:?}"
    );
}

#[test]
fn silence_is_blamed_by_whether_the_peer_is_heard() {
    for (heard, outbound, inbound) in [(true, 1.0, 0.0), (false, 0.0, 1.0)] {
        let mut world = World::new();
        let now = world.run(30, |i| i >= 100, |_| false, heard);
        let ratios = world.sender.ratios(Window::TenSeconds, now);
        assert_eq!((ratios.outbound, ratios.inbound), (outbound, inbound));
    }
}

#[test]
fn silence_that_ends_is_not_counted_twice() {
    let mut world = World::new();
    let now = world.run(10, |i| (20..70).contains(&i), |_| false, true);
    let ratios = world.sender.ratios(Window::TenSeconds, now);
    assert!(near(ratios.outbound, 0.5) && ratios.inbound == 0.0, "{ratios:?}");
}

#[test]
fn old_loss_is_forgotten_after_ten_seconds() {
    let mut world = World::new();
    let now = world.run(25, |i| i < 100, |_| false, true);
    assert_eq!(world.sender.ratios(Window::TenSeconds, now), Ratios::default());
}

#[test]
fn overtaken_probes_and_answers_are_not_lost() {
    let mut world = World::new();
    let now = world.start;
    let first = world.probe(now);
    let reply = world.reflect(&first, now);
    world.reply(&reply, now).unwrap();
    let (a, b, c) = (world.probe(now), world.probe(now), world.probe(now));
    let b = world.reflect(&b, now);
    let a = world.reflect(&a, now);
    let c = world.reflect(&c, now);
    for reply in [&b, &c, &a] {
        world.reply(reply, now).unwrap();
    }
    assert_eq!(world.sender.ratios(Window::TenSeconds, now), Ratios::default());
}

#[test]
fn a_restarted_reflector_is_no_loss() {
    let mut world = World::new();
    world.run(5, |_| false, |_| false, true);
    world.reflector = Reflector::default();
    let now = world.start + Duration::from_secs(6);
    for i in 0..20 {
        let now = now + i * 100 * MS;
        let probe = world.probe(now);
        let reply = world.reflect(&probe, now);
        world.reply(&reply, now).unwrap();
    }
    assert!(
        world
            .sender
            .ratios(Window::TenSeconds, now + Duration::from_secs(2))
            .inbound
            < 0.02
    );
}

#[test]
fn duplicates_and_inventions_measure_nothing() {
    let mut world = World::new();
    let now = world.start;
    let probe = world.probe(now);
    let reply = world.reflect(&probe, now);
    assert!(world.reply(&reply, now).is_some());
    assert!(world.reply(&reply, now).is_none());
    assert!(world.sender.handle_reply(&[0; 43], &world.clock, now).is_none());
    assert!(
        world
            .sender
            .handle_reply(&[0xff; 44], &world.clock, now)
            .is_none()
    );
}

#[test]
fn unanswered_probes_are_lost_once_and_sleeping_loses_none() {
    let mut world = World::new();
    let now = world.start;
    for _ in 0..3 {
        world.probe(now);
    }
    assert_eq!(world.sender.handle_timeout(true, now + REPLY_TIMEOUT), 3);
    assert_eq!(world.sender.handle_timeout(true, now + REPLY_TIMEOUT), 0);
    world.probe(now);
    world.sender.restart();
    assert_eq!(
        world.sender.handle_timeout(true, now + Duration::from_secs(60)),
        0
    );
}

#[test]
fn an_answer_has_the_size_of_its_probe_and_keeps_what_is_behind_it() {
    let mut world = World::new();
    let now = world.start;
    let mut probe = world.probe(now).to_vec();
    probe.extend_from_slice(&[0xaa; 100]);
    let (a, b) = (
        Port {
            address: world.a,
            port: SENDER_PORT,
        },
        Port {
            address: world.b,
            port: PORT,
        },
    );
    udp::write_v6(&mut probe, a, b);
    let reply = world.reflect(&probe, now);
    assert_eq!(reply.len(), probe.len());
    assert_eq!(reply[HEALTH_PROBE..], [0xaa; 100]);
}

#[test]
fn each_side_reports_what_it_heard() {
    let mut world = World::new();
    let now = world.start;
    let probe = world.probe(now);
    let payload = &probe[udp::OVERHEAD_V6..];
    let theirs = world.reflector.handle_probe(payload).unwrap();
    assert_eq!(theirs.heard, Some((7, 70)));
    let heard = world.reflector.heard();
    assert_eq!(heard, Some((0, world.clock.stamp(now))));
    let report = Report {
        heard,
        stalled: false,
    };
    assert!(world.sender.handle_report(&report, now + 5 * MS));
    assert!(!world.sender.handle_report(&report, now + 6 * MS), "no news");
    assert_eq!(world.sender.missing(now + 3000 * MS).count, 0);
}

#[test]
fn the_report_is_found_behind_other_tlvs_and_nowhere_else() {
    let report = Report {
        heard: None,
        stalled: true,
    };
    let mut ours = [0; size_of::<ReportTlv>()];
    report.write(UNRECOGNIZED, &mut ours);
    assert_eq!(ours[..4], [UNRECOGNIZED, REPORT, 0, 16]);
    let other = [UNRECOGNIZED, 253, 0, 3, 1, 2, 3];
    assert_eq!(Report::read(&[&other[..], &ours].concat()), Some(report));
    assert_eq!(
        Report::read(&[&[0; 4][..], &ours].concat()),
        None,
        "behind padding"
    );
    assert_eq!(Report::read(&ours[..19]), None);
    assert_eq!(Report::read(&[UNRECOGNIZED, REPORT, 0xff, 0xff]), None);
    assert_eq!(Report::read(&[]), None);
}

#[test]
fn ntp_time_counts_from_1900() {
    let start = start();
    let clock = NtpClock::new(start, Duration::new(0, 500_000_000));
    assert_eq!(clock.stamp(start), (2_208_988_800 << 32) | (1 << 31));
}
