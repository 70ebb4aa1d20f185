//! What a running member consists of: the same pure parts that the daemon joins, joined by hand.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use meshnode::desired::choice::Memory;
use meshnode::desired::{self, Host, Local, Situation};
use meshnode_crypto::{LaneKey, Name, UnixMillis};
use meshnode_dataplane::lane::counters::LaneCounters;
use meshnode_dataplane::lane::engine::{EngineConfig, EngineEvent, LaneEngine};
use meshnode_dataplane::path::stamp::NtpClock;
use meshnode_dataplane::tunnel::stand_in::StandIn;
use meshnode_dataplane::{Datagram, Frame, Keys, LaneSecret, SendBatch, Stats, WriteBatch};
use meshnode_membership::api::{Announcement, Timing};
use meshnode_membership::directory::{Directory, DirectoryConfig};
use meshnode_membership::own::{OwnConfig, OwnRecord};
use meshnode_membership::record::AnnouncedPrefix;
use meshnode_membership::record::serving::Serving;

use super::fabric::Cargo;
use super::member::{Member, chain, id, key, mesh, moment};

/// How often a directory looks at its clock.
const MINUTE: Duration = Duration::from_secs(60);

/// A member between a start and its end.
pub struct Life {
    start: Instant,
    directory: Directory,
    own: OwnRecord,
    keys: Keys,
    announcement: Announcement,
    engine: LaneEngine<StandIn>,
    counters: Arc<LaneCounters>,
    choice: Memory,
    /// The version of the directory that the table in force was made of; none: something else changed.
    composed: Option<u64>,
    epoch: u64,
    checked: Instant,
    /// Records to tell everybody.
    pub news: Vec<Bytes>,
    /// Datagrams to send.
    pub send: SendBatch,
    /// Packets for the network behind it.
    pub write: WriteBatch,
}

impl Life {
    /// A start: fresh lane keys, an empty directory, a sequence above the last one.
    pub fn new(member: &Member, generation: u64, sequence: u64, start: Instant, now: Instant) -> Life {
        let at = moment(start, now);
        let (mesh, me) = (mesh(), id(member.number));
        let own = OwnConfig {
            mesh,
            key: key(member.number),
            version: "simulated".to_owned(),
            generation,
            persisted_sequence: sequence,
            timing: Timing::default(),
        };
        let config = DirectoryConfig {
            mesh,
            self_id: me,
            max_members: 1000,
        };
        let lane = lane_key(member.number, generation);
        let counters = Arc::new(LaneCounters::new(now));
        let engine = LaneEngine::new(EngineConfig {
            lane: 0,
            lanes: 1,
            seed: (member.number as u64) << 32 | generation,
            clock: NtpClock::new(now, Duration::from_millis(at.wall.0)),
            counters: Arc::clone(&counters),
        });
        let mut life = Life {
            start,
            directory: Directory::new(config, at),
            own: OwnRecord::new(own, chain(member.number)).expect("the chain is this member's"),
            announcement: Announcement {
                name: Name::parse(&format!("n{}", member.number)).expect("a letter and a number"),
                endpoints: vec![member.address],
                prefixes: vec![],
                lanes: vec![lane.prove(&mesh, &me, 0)],
                epoch: generation as u32,
                capabilities: desired::abilities::RELAYS,
                serving: Serving::default(),
            },
            keys: Keys {
                lanes: vec![LaneSecret {
                    private: lane.wireguard_private(),
                    public: *lane.wireguard_public().as_bytes(),
                }],
                ..Keys::default()
            },
            engine,
            counters,
            choice: Memory::default(),
            composed: None,
            epoch: 0,
            checked: now,
            news: vec![],
            send: SendBatch::default(),
            write: WriteBatch::default(),
        };
        life.announce(member, now);
        life
    }

    /// Says what the member should serve and where it is.
    pub fn announce(&mut self, member: &Member, now: Instant) {
        self.announcement.endpoints = vec![member.address];
        self.announcement.prefixes = member
            .prefixes
            .iter()
            .map(|(prefix, priority)| AnnouncedPrefix {
                prefix: *prefix,
                priority: *priority,
            })
            .collect();
        self.announcement.serving.draining = member.draining;
        self.own.announce(self.announcement.clone());
        self.composed = None;
        self.turn(now);
    }

    /// Leaves for good.
    pub fn depart(&mut self, now: Instant) {
        self.own.depart();
        self.turn(now);
    }

    /// A record out of the peer cache.
    pub fn restore(&mut self, record: &[u8], now: Instant) {
        // What does not count any more is no hint either.
        self.directory
            .restore_record(record, moment(self.start, now))
            .ok();
    }

    /// What arrives.
    pub fn handle_cargo(&mut self, cargo: Cargo, now: Instant) {
        match cargo {
            Cargo::Datagram { from, payload } => {
                let datagram = Datagram {
                    source: from,
                    local: None,
                    payload: &payload,
                };
                self.engine
                    .handle_inbound(datagram, now, &mut self.write, &mut self.send);
            }
            Cargo::Records(records) => records.into_iter().for_each(|r| self.handle_record(r, now)),
        }
    }

    fn handle_record(&mut self, record: Bytes, now: Instant) {
        if self.directory.knows(&record) {
            return;
        }
        let taken = self.directory.handle_record(&record, moment(self.start, now));
        if taken.is_ok_and(|accepted| accepted.change.is_news()) {
            self.news.push(record);
        }
    }

    /// A packet out of the network behind the member.
    pub fn outbound(&mut self, packet: &mut [u8], now: Instant) {
        self.engine
            .handle_outbound(Frame::whole(packet), now, &mut self.send, &mut self.write);
    }

    /// Does all that is due.
    pub fn turn(&mut self, now: Instant) {
        let at = moment(self.start, now);
        if let Some(record) = self.own.handle_timeout(at, self.directory.members_time()) {
            let record = record.expect("the grant allows everything");
            self.news.push(record.bytes.clone());
            self.directory.set_own(record);
        }
        if self.directory.poll_timeout().is_some_and(|due| due <= at.wall) || now >= self.checked + MINUTE {
            self.directory.handle_timeout(at);
            self.checked = now;
        }
        if self.engine.poll_timeout().is_some_and(|(due, _)| due <= now) {
            self.engine.handle_timeout(now, &mut self.send);
        }
        while let Some(event) = self.engine.poll_event() {
            if matches!(event, EngineEvent::PathChanged { .. }) {
                self.composed = None;
            }
        }
        let due = self.choice.poll_timeout().is_some_and(|at| at <= now);
        if due || self.composed != Some(self.directory.version()) {
            self.compose(now);
        }
    }

    fn compose(&mut self, now: Instant) {
        self.composed = Some(self.directory.version());
        self.epoch += 1;
        let view = self.directory.view(moment(self.start, now));
        let local = Local {
            prefixes: self.announcement.prefixes.iter().map(|a| a.prefix).collect(),
            host: Host {
                ipv6: true,
                ..Host::default()
            },
            ..Local::default()
        };
        let situation = Situation {
            view: &view,
            local: &local,
            paths: &self.counters.health(),
            now,
        };
        let desired = desired::compose(&situation, &mut self.choice);
        let ids = (&view.mesh, &view.me);
        let table = meshnode::adapt::dataplane::table(&desired, &self.keys, ids, 1440, self.epoch);
        self.engine.handle_table(Arc::new(table.compile()), now);
    }

    /// When [`Life::turn`] has something to do.
    pub fn poll_timeout(&self) -> Instant {
        let wall = |at: UnixMillis| {
            let since = at.0.saturating_sub(moment(self.start, self.start).wall.0);
            self.start + Duration::from_millis(since)
        };
        let timers = [
            self.engine.poll_timeout().map(|(at, _)| at),
            self.choice.poll_timeout(),
            self.own.poll_timeout(),
            self.directory.poll_timeout().map(wall),
        ];
        timers
            .into_iter()
            .flatten()
            .fold(self.checked + MINUTE, Instant::min)
    }

    /// All records to give to others, its own first.
    pub fn records(&self) -> Vec<Bytes> {
        self.directory.records().cloned().collect()
    }

    /// The sequence of the last record that it made.
    pub fn sequence(&self) -> u64 {
        self.own.published().map_or(0, |record| record.body.sequence)
    }

    /// Where the other members are, as it knows.
    pub fn contacts(&self) -> impl Iterator<Item = SocketAddr> {
        self.directory
            .members()
            .filter_map(|record| record.body.endpoints.first().copied())
    }

    /// What its data plane counted.
    pub fn stats(&self, now: Instant) -> Stats {
        self.counters.snapshot(now)
    }
}

fn lane_key(number: usize, generation: u64) -> LaneKey {
    let mut seed = [7; 32];
    seed[0] = number as u8;
    seed[1..9].copy_from_slice(&generation.to_be_bytes());
    LaneKey::from_seed(seed)
}
