//! Joining over real QUIC on a wire in memory: who is let in, by whom, and what everybody else hears.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use common::{Mesh, Node, START, agree, ids, key, logs, prefix};
use meshnode_crypto::{GrantChain, Name, SigningKey, Token, TokenSpec};
use meshnode_membership::api::{EnrolError, EnrolRequest, Enrolment, InviteRequest, SeedProblem};
use meshnode_membership::ports::WallClock;
use meshnode_membership::simulation::SimWire;
use meshnode_membership::{Membership, QuicEndpoint, enrol};

const SOON: Duration = Duration::from_secs(30);

/// A mesh whose nodes are on one wire, each at its own address.
struct World {
    mesh: Mesh,
    wire: SimWire,
}

fn address(number: u16) -> SocketAddr {
    let [high, low] = number.to_be_bytes();
    SocketAddr::from(([192, 0, high, low], 51820))
}

fn invitation(number: u16) -> InviteRequest {
    InviteRequest {
        serve: vec![prefix(number)],
        delegate: Vec::new(),
        name: None,
        uses: 1,
        lifetime: Duration::from_secs(3600),
        seeds: vec![address(0).to_string()],
    }
}

impl World {
    fn new() -> Self {
        logs();
        World {
            mesh: Mesh::new(),
            wire: SimWire::default(),
        }
    }

    fn endpoint(&self, number: u16, key: &SigningKey) -> QuicEndpoint {
        QuicEndpoint::new(self.wire.port(address(number)), key).unwrap()
    }

    async fn run(&self, mut node: Node, seeds: &[u16], enrolment: Option<Enrolment>) -> Node {
        node.starts += 1;
        let endpoint = self.endpoint(node.number, &node.key);
        self.run_on(node, endpoint, seeds, enrolment).await
    }

    async fn run_on(
        &self,
        mut node: Node,
        endpoint: QuicEndpoint,
        seeds: &[u16],
        enrolment: Option<Enrolment>,
    ) -> Node {
        let mut config = self.mesh.config(&node);
        config.seeds = seeds.iter().map(|seed| address(*seed)).collect();
        if let Some(enrolment) = enrolment {
            node.chain = enrolment.chain.clone();
            config.chain = enrolment.chain;
            config.first_records = enrolment.first_records;
        }
        let process = Membership::start(config, endpoint, node.store.clone(), node.clock.clone())
            .await
            .unwrap();
        let mut announcement = self.mesh.announcement(&node);
        announcement.endpoints = vec![address(node.number)];
        process.announce(announcement);
        node.process = Some(process);
        node
    }

    /// A member with a grant by the founder, run without enrolment.
    async fn member(&self, number: u16, seeds: &[u16]) -> Node {
        self.run(self.mesh.node(number), seeds, None).await
    }

    async fn ask(
        &self,
        number: u16,
        token: &Token,
        seeds: &[u16],
    ) -> (QuicEndpoint, Result<Enrolment, EnrolError>) {
        let key = key(number);
        let endpoint = self.endpoint(number, &key);
        let seeds: Vec<_> = seeds.iter().map(|seed| address(*seed)).collect();
        let request = EnrolRequest {
            name: Name::parse(&format!("n{number}")).unwrap(),
            serve: vec![prefix(number)],
        };
        let now = self.mesh.node(number).clock.now();
        let enrolment = enrol(&endpoint, &key, token, &seeds, request, now).await;
        (endpoint, enrolment)
    }

    async fn join(&self, number: u16, token: &Token, seeds: &[u16]) -> Node {
        let (endpoint, enrolment) = self.ask(number, token, seeds).await;
        let mut node = self.mesh.node(number);
        node.starts += 1;
        self.run_on(node, endpoint, seeds, Some(enrolment.unwrap())).await
    }

    async fn refusal(&self, number: u16, token: &Token, seeds: &[u16]) -> String {
        let (_, enrolment) = self.ask(number, token, seeds).await;
        enrolment.unwrap_err().to_string()
    }
}

#[tokio::test(start_paused = true)]
async fn a_joiner_is_let_in_and_everybody_sees_it() {
    let world = World::new();
    let founder = world.member(0, &[]).await;
    let member = world.member(1, &[0]).await;
    agree(&[&founder, &member], &ids([&founder, &member]), SOON).await;
    let token = founder.process().invite(invitation(2)).await.unwrap();
    let joiner = world.join(2, &token, &[0]).await;
    let all = [&founder, &member, &joiner];
    agree(&all, &ids(all), Duration::from_secs(5)).await;
    let view = founder.view();
    assert_eq!(view.nodes[&joiner.id()].prefixes[0].prefix, prefix(2));
    assert!(view.nodes[&joiner.id()].endpoints.contains(&address(2)));
}

#[tokio::test(start_paused = true)]
async fn a_member_hands_a_join_to_the_issuer() {
    let world = World::new();
    let founder = world.member(0, &[]).await;
    let member = world.member(1, &[0]).await;
    agree(&[&founder, &member], &ids([&founder, &member]), SOON).await;
    let token = founder.process().invite(invitation(2)).await.unwrap();
    let joiner = world.join(2, &token, &[1]).await;
    let all = [&founder, &member, &joiner];
    agree(&all, &ids(all), SOON).await;
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_is_down_is_named() {
    let world = World::new();
    let founder = world.member(0, &[]).await;
    let member = world.member(1, &[0]).await;
    agree(&[&founder, &member], &ids([&founder, &member]), SOON).await;
    let token = founder.process().invite(invitation(2)).await.unwrap();
    world.wire.cut(address(0));
    let refusal = world.refusal(2, &token, &[1]).await;
    assert!(
        refusal.contains("issued by n0, which alone can admit with it and does not answer"),
        "{refusal}"
    );
}

#[tokio::test(start_paused = true)]
async fn of_two_joiners_at_once_one_wins_and_may_ask_again() {
    let world = World::new();
    let founder = world.member(0, &[]).await;
    let member = world.member(1, &[0]).await;
    agree(&[&founder, &member], &ids([&founder, &member]), SOON).await;
    let request = InviteRequest {
        serve: vec!["10.0.0.0/8".parse().unwrap()],
        ..invitation(2)
    };
    let token = founder.process().invite(request).await.unwrap();
    let (first, second) = tokio::join!(world.ask(2, &token, &[0]), world.ask(3, &token, &[1]));
    let (winner, loser) = match (&first.1, &second.1) {
        (Ok(_), Err(error)) => (2, error.to_string()),
        (Err(error), Ok(_)) => (3, error.to_string()),
        other => panic!("exactly one must win: {other:?}"),
    };
    assert!(loser.contains("used up"), "{loser}");
    let (_, again) = world.ask(winner, &token, &[1]).await;
    let granted = if winner == 2 {
        first.1.unwrap()
    } else {
        second.1.unwrap()
    };
    assert_eq!(again.unwrap().chain, granted.chain);
}

#[tokio::test(start_paused = true)]
async fn each_bad_token_says_what_is_wrong() {
    let world = World::new();
    let founder = world.member(0, &[]).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let short = InviteRequest {
        lifetime: Duration::from_secs(60),
        ..invitation(2)
    };
    let expired = founder.process().invite(short).await.unwrap();
    let narrow = founder.process().invite(invitation(9)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(120)).await;
    let refusal = world.refusal(2, &expired, &[0]).await;
    assert!(refusal.contains("the token expired"), "{refusal}");
    let refusal = world.refusal(2, &narrow, &[0]).await;
    assert!(
        refusal.contains("10.0.2.0/24 is not among the prefixes"),
        "{refusal}"
    );
}

#[tokio::test(start_paused = true)]
async fn seeds_that_cannot_help_are_told_apart() {
    let world = World::new();
    let founder = world.member(0, &[]).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let other = foreign_token();
    let (_, refused) = world.ask(2, &other, &[0, 77]).await;
    let Err(EnrolError::Seeds(problems)) = refused else {
        panic!("not let in by another mesh")
    };
    assert_eq!(problems[0], (address(0), SeedProblem::OtherMesh));
    assert_eq!(problems[1], (address(77), SeedProblem::Silent));
    drop(founder);
}

#[tokio::test(start_paused = true)]
async fn a_revoked_node_is_cut_off_and_cannot_come_back() {
    let world = World::new();
    let founder = world.member(0, &[]).await;
    let (one, two) = (world.member(1, &[0]).await, world.member(2, &[0]).await);
    let all = [&founder, &one, &two];
    agree(&all, &ids(all), SOON).await;
    let out = two.id();
    founder
        .process()
        .revoke(meshnode_crypto::RevocationTarget::Node(out), false)
        .await
        .unwrap();
    agree(&[&founder, &one], &ids([&founder, &one]), Duration::from_secs(2)).await;
    let mut two = two;
    two.process = None;
    let two = world.run(two, &[0, 1], None).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    agree(&[&founder, &one], &ids([&founder, &one]), Duration::from_secs(1)).await;
    // It remembers the others from its disk, but hears nothing new of them.
    let mut announcement = world.mesh.announcement(&founder);
    announcement.endpoints = vec![address(0)];
    announcement.capabilities = 1;
    founder.process().announce(announcement);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(one.view().nodes[&founder.id()].capabilities, 1);
    assert!(
        two.view()
            .nodes
            .get(&founder.id())
            .is_none_or(|seen| seen.capabilities == 0)
    );
}

fn foreign_token() -> Token {
    let authority = SigningKey::from_seed([99; 32]);
    let mesh = meshnode_crypto::MeshId::new(authority.public_key());
    let grant = meshnode_crypto::Grant {
        issuer: authority.public_key(),
        subject: key(50).public_key(),
        serve: Vec::new(),
        delegate: vec!["0.0.0.0/0".parse().unwrap()],
        name: None,
        not_before: START - common::DAY,
        not_after: START + 100 * common::DAY,
        serial: meshnode_crypto::Serial([3; 16]),
        client_pool: None,
        client_range: None,
        token: None,
    };
    let chain = GrantChain::from(grant.sign(&authority, &mesh).unwrap());
    let spec = TokenSpec {
        mesh,
        seeds: Vec::new(),
        serve: vec![prefix(2)],
        delegate: Vec::new(),
        name: None,
        uses: 1,
        not_after: START + common::DAY,
    };
    Token::issue(spec, &key(50), &chain, [5; 32]).unwrap()
}

#[tokio::test(start_paused = true)]
async fn members_find_each_other_from_the_cache_when_all_seeds_are_gone() {
    let world = World::new();
    let founder = world.member(0, &[]).await;
    let (one, two) = (world.member(1, &[0]).await, world.member(2, &[0]).await);
    let all = [&founder, &one, &two];
    agree(&all, &ids(all), SOON).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    drop(founder);
    let mut pair = Vec::new();
    for mut node in [one, two] {
        node.process = None;
        pair.push(node);
    }
    world.wire.cut(address(0));
    let mut back = Vec::new();
    for node in pair {
        back.push(world.run(node, &[0], None).await);
    }
    let epochs = || {
        back.iter()
            .map(|node| node.view().nodes.values().map(|seen| seen.epoch).max())
    };
    let met = async {
        while !epochs().all(|epoch| epoch == Some(2)) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(SOON, met).await.unwrap();
}
