//! Random transitions of a world, and what must hold after each and at rest.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use meshnode_dataplane::DropReason;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::fabric::{Link, Number};
use super::member::{home, host};
use super::model::{self, Rest};
use super::world::{Arrival, World};

const MS: Duration = Duration::from_millis(1);

/// How long a new mesh takes until everybody has a session with everybody.
const BIRTH: Duration = Duration::from_secs(10);

/// Whoever failed is trusted again after this long, however often it failed.
const LONGEST_HOLD: Duration = Duration::from_secs(700);

/// How long a packet may be under way.
const FLIGHT: Duration = Duration::from_millis(300);

/// Prefixes that several members serve, one inside the other.
const SHARED: [&str; 3] = ["10.200.0.0/16", "10.200.7.0/24", "10.0.0.0/8"];

/// Addresses in them.
const TARGETS: [[u8; 4]; 3] = [[10, 200, 1, 1], [10, 200, 7, 1], [10, 99, 9, 9]];

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    /// The process dies.
    Crash(Number),
    /// It starts, again or for the first time.
    Start(Number),
    /// It stands still.
    Freeze(Number),
    /// It goes on.
    Thaw(Number),
    /// Nothing passes from one to the other any more.
    CutOneWay(Number, Number),
    /// Nothing passes between them any more.
    Cut(Number, Number),
    /// Everything passes between them again.
    Mend(Number, Number),
    /// The link between them comes and goes for a while, and is well at last.
    Flap(Number, Number),
    /// Members below this number hear nothing of the others.
    Part(Number),
    /// All links are well.
    Heal,
    /// It has another address.
    Roam(Number),
    /// Its operator wants it free of traffic, or no longer.
    Drain(Number, bool),
    /// It serves one of [`SHARED`], or no longer.
    Serve(Number, usize, bool),
    /// Somebody says again what another said long ago.
    Rumour(Number),
}

impl Step {
    /// How long the mesh may take to be well after it.
    pub const fn bound(self) -> Duration {
        let ms = match self {
            // Routes move, or a path is found dead: on idle paths that takes one slow probe more.
            Step::Crash(_) | Step::Freeze(_) | Step::CutOneWay(..) | Step::Cut(..) => 3_000,
            Step::Drain(..) | Step::Serve(..) | Step::Rumour(_) => 1_500,
            Step::Roam(_) => 2_000,
            // Sessions are made, with whom nobody has looked for a while.
            Step::Start(_) | Step::Thaw(_) | Step::Mend(..) | Step::Flap(..) | Step::Part(_) | Step::Heal => {
                8_000
            }
        };
        Duration::from_millis(ms)
    }
}

/// A world and the random source of what happens to it.
pub struct Script {
    /// The world.
    pub world: World,
    /// What happened so far.
    pub steps: Vec<Step>,
    /// Every packet that came out.
    pub arrivals: Vec<Arrival>,
    rng: ChaCha8Rng,
    rumours: Vec<bytes::Bytes>,
    roamed: u16,
}

impl Script {
    /// A mesh that has come to rest.
    pub fn new(members: usize, seed: u64) -> Script {
        let mut script = Script {
            world: World::new(members, seed),
            steps: vec![],
            arrivals: vec![],
            rng: ChaCha8Rng::seed_from_u64(seed.rotate_left(32)),
            rumours: vec![],
            roamed: 0,
        };
        for (number, which) in [(0, 0), (1, 0), (2, 1), (3, 1), (4, 2)] {
            if number < members {
                script.serve(number, which, true);
            }
        }
        script.world.run(BIRTH);
        script
    }

    /// Does something, waits as long as the mesh may take, and checks.
    ///
    /// # Errors
    /// What does not hold.
    pub fn happen(&mut self, step: Step) -> Result<(), String> {
        self.steps.push(step);
        self.act(step);
        self.world.run(step.bound());
        self.check(Rest::Restless)
    }

    /// Does something that makes sense in the present situation.
    ///
    /// # Errors
    /// What does not hold afterwards.
    pub fn happen_at_random(&mut self) -> Result<(), String> {
        let step = self.choose();
        self.happen(step)
    }

    /// Mends everything, and checks when nobody can be held back any more.
    ///
    /// # Errors
    /// What does not hold then.
    pub fn come_to_rest(&mut self) -> Result<(), String> {
        for number in 0..self.world.members.len() {
            self.world.thaw(number);
            self.world.members[number].draining = false;
            match self.world.members[number].life {
                Some(_) => self.world.announce(number),
                None => self.world.start(number),
            }
        }
        self.happen(Step::Heal)?;
        self.world.run(LONGEST_HOLD);
        self.check(Rest::Deep)
    }

    fn choose(&mut self) -> Step {
        let count = self.world.members.len();
        let a = self.rng.random_range(0..count);
        let b = (a + self.rng.random_range(1..count)) % count;
        let (member, drained) = (&self.world.members[a], self.world.members[a].draining);
        if member.life.is_none() {
            return Step::Start(a);
        }
        if !member.is_awake() {
            return Step::Thaw(a);
        }
        let well = self.world.fabric.joins(a, b);
        match self.rng.random_range(0..13) {
            0 => Step::Crash(a),
            1 => Step::Freeze(a),
            2 | 3 if !well => Step::Mend(a, b),
            2 => Step::CutOneWay(a, b),
            3 => Step::Cut(a, b),
            4 => Step::Flap(a, b),
            5 => Step::Part(1 + a % (count - 1)),
            6 | 7 => Step::Heal,
            8 => Step::Roam(a),
            9 => Step::Drain(a, !drained),
            10 | 11 => {
                let which = self.rng.random_range(0..SHARED.len());
                let serves = self.world.members[a]
                    .prefixes
                    .iter()
                    .any(|(p, _)| *p == shared(which));
                Step::Serve(a, which, !serves)
            }
            _ => Step::Rumour(a),
        }
    }

    fn act(&mut self, step: Step) {
        match step {
            Step::Crash(n) => self.world.members[n].crash(),
            Step::Start(n) => self.world.start(n),
            Step::Freeze(n) => self.world.members[n].freeze(true),
            Step::Thaw(n) => self.world.thaw(n),
            Step::CutOneWay(a, b) => self.set_up(a, b, false),
            Step::Cut(a, b) => self.set_both(a, b, false),
            Step::Mend(a, b) => self.set_both(a, b, true),
            Step::Flap(a, b) => self.flap(a, b),
            Step::Part(below) => self.for_all(|a, b| (a < below) == (b < below)),
            Step::Heal => self.for_all(|_, _| true),
            Step::Roam(n) => self.roam(n),
            Step::Drain(n, on) => {
                self.world.members[n].draining = on;
                self.world.announce(n);
            }
            Step::Serve(n, which, on) => self.serve(n, which, on),
            Step::Rumour(n) => self.rumour(n),
        }
    }

    fn set_up(&mut self, from: Number, to: Number, up: bool) {
        let link = Link {
            up,
            ..self.world.fabric.link(from, to)
        };
        self.world.fabric.set_link(from, to, link);
    }

    fn set_both(&mut self, a: Number, b: Number, up: bool) {
        self.set_up(a, b, up);
        self.set_up(b, a, up);
    }

    fn for_all(&mut self, up: impl Fn(Number, Number) -> bool) {
        let count = self.world.members.len();
        for (a, b) in (0..count).flat_map(|a| (0..count).map(move |b| (a, b))) {
            self.set_up(a, b, up(a, b));
        }
    }

    fn flap(&mut self, a: Number, b: Number) {
        for turn in 0..8 {
            self.set_both(a, b, turn % 2 == 1);
            let pause = self.rng.random_range(500..3_000);
            self.world.run(pause * MS);
        }
    }

    fn roam(&mut self, number: Number) {
        self.roamed += 1;
        let address = SocketAddr::new(home(number).ip(), home(number).port() + self.roamed);
        self.world.roam(number, address);
    }

    fn serve(&mut self, number: Number, which: usize, on: bool) {
        let prefix = shared(which);
        let priority = self.rng.random_range(1..4) * 50;
        let member = &mut self.world.members[number];
        member.prefixes.retain(|(known, _)| *known != prefix);
        member.prefixes.extend(on.then_some((prefix, priority)));
        self.world.announce(number);
    }

    /// Old records are heard again by everybody: true once, and superseded since.
    fn rumour(&mut self, from: Number) {
        let known = self.world.members[from]
            .life
            .as_ref()
            .map_or_else(Vec::new, |life| life.records());
        let old = std::mem::replace(&mut self.rumours, known);
        for to in self.world.others_awake(from) {
            self.world.fabric.tell(from, to, old.clone(), self.world.now);
        }
    }

    /// Everybody sends to everything: who should answer does, once, and nobody else.
    ///
    /// # Errors
    /// The first pair for which that is not so.
    pub fn check(&mut self, rest: Rest) -> Result<(), String> {
        let count = self.world.members.len();
        let targets: Vec<IpAddr> = (0..count).map(host).chain(TARGETS.map(IpAddr::from)).collect();
        let members = &self.world.members;
        let pairs = (0..count).flat_map(|from| targets.iter().map(move |to| (from, *to)));
        let foreign =
            |(from, to): &(Number, IpAddr)| members[*from].is_awake() && !model::serves(&members[*from], *to);
        let pairs: Vec<_> = pairs.filter(foreign).collect();
        let sent: BTreeMap<u32, (Number, IpAddr)> = pairs
            .into_iter()
            .map(|(from, to)| (self.world.inject(from, to), (from, to)))
            .collect();
        self.world.run(FLIGHT);
        let arrived = std::mem::take(&mut self.world.arrivals);
        self.arrivals.extend(&arrived);
        self.nobody_twice()?;
        for (packet, (from, to)) in sent {
            let at = arrived.iter().find(|a| a.packet == packet).map(|a| a.at);
            self.judge(from, to, at, rest)?;
        }
        Ok(())
    }

    fn nobody_twice(&self) -> Result<(), String> {
        let mut seen = BTreeSet::new();
        match self.arrivals.iter().find(|a| !seen.insert(a.packet)) {
            Some(twice) => Err(format!(
                "packet {} came out twice, at last behind {}",
                twice.packet, twice.at
            )),
            None => Ok(()),
        }
    }

    fn judge(&self, from: Number, to: IpAddr, at: Option<Number>, rest: Rest) -> Result<(), String> {
        let may = model::answerers(&self.world.fabric, &self.world.members, from, to, rest);
        match at {
            None if may.is_empty() => Ok(()),
            None => Err(format!(
                "{from} does not reach {to}, which {may:?} should answer; {}",
                self.describe(&[&[from], may.as_slice()].concat())
            )),
            Some(at) if may.contains(&at) => Ok(()),
            Some(at) => Err(format!(
                "{from} reaches {to} behind {at}; {may:?} should answer; {}",
                self.describe(&[&[from], may.as_slice()].concat())
            )),
        }
    }
}

impl Script {
    /// How some members see the others, and what they dropped.
    fn describe(&self, numbers: &[Number]) -> String {
        let lines = numbers.iter().filter_map(|number| {
            let life = self.world.members[*number].life.as_ref()?;
            let stats = life.stats(self.world.now);
            let states: Vec<_> = (0..self.world.members.len())
                .filter_map(|other| Some((other, stats.peers.get(super::member::id(other).as_bytes())?)))
                .map(|(other, peer)| format!("{other} {} {}", peer.path.as_str(), peer.cause.as_str()))
                .collect();
            let drops: Vec<_> = DropReason::ALL
                .iter()
                .filter(|reason| stats.dropped(**reason) > 0)
                .map(|reason| format!("{} {}", stats.dropped(*reason), reason.as_str()))
                .collect();
            Some(format!("{number} sees {states:?}, dropped {drops:?}"))
        });
        lines.collect::<Vec<_>>().join("; ")
    }
}

fn shared(which: usize) -> IpNet {
    SHARED[which].parse().expect("a prefix")
}
