use std::time::Duration;

use meshnode_crypto::{GrantChain, Token, TokenSpec};

use super::*;
use crate::testing::{
    Clock, HOUR, authority, body, chain_by, directory, founder_chain, grant, key, mesh, net, node, prefix,
    record, revocation,
};

const ISSUER: u8 = 1;
const JOINER: u8 = 9;
const SERIAL: Serial = Serial([42; 16]);

struct World {
    clock: Clock,
    directory: Directory,
    ledger: Ledger,
    // Who decides.
    me: GrantChain,
    spec: TokenSpec,
    joiner: u8,
    serve: Vec<IpNet>,
    forwarded: bool,
}

impl World {
    fn new() -> Self {
        let clock = Clock::new();
        let mut directory = directory(&clock);
        for n in [ISSUER, 2] {
            directory
                .handle_record(&record(n, Duration::ZERO), clock.start())
                .unwrap();
        }
        let spec = TokenSpec {
            mesh: mesh(),
            seeds: vec!["203.0.113.1:51820".into()],
            serve: vec![prefix(JOINER)],
            delegate: vec![],
            name: None,
            uses: 1,
            not_after: clock.at(24 * HOUR).wall,
        };
        World {
            clock,
            directory,
            ledger: Ledger::default(),
            me: founder_chain(ISSUER),
            spec,
            joiner: JOINER,
            serve: vec![],
            forwarded: false,
        }
    }

    fn decide_at(&self, now: Now) -> Result<Decision, Refusal> {
        let token = Token::issue(self.spec.clone(), &key(ISSUER), &founder_chain(ISSUER), [7; 32]).unwrap();
        let verified = token.public().verify(now.wall)?;
        let name = Name::parse("newcomer").unwrap();
        let chain = self.me.verify_at_any_time(&mesh()).unwrap();
        let request = Request {
            token: &verified,
            joiner: node(self.joiner),
            name: &name,
            serve: &self.serve,
            forwarded: self.forwarded,
        };
        let admitter = Admitter {
            chain: &chain,
            directory: &self.directory,
            ledger: &self.ledger,
        };
        decide(&request, &admitter, now, SERIAL)
    }

    fn decide(&self) -> Result<Decision, Refusal> {
        self.decide_at(self.clock.start())
    }

    // Decides and keeps the use, as the shell does before it signs.
    fn admit(&mut self) -> Result<Grant, Refusal> {
        match self.decide()? {
            Decision::Admit { grant, record } => {
                record.into_iter().for_each(|entry| self.ledger.add(*entry));
                Ok(*grant)
            }
            Decision::Again(grant) => Ok(*grant),
            Decision::Forward(_) => panic!("not forwarded here"),
        }
    }
}

#[test]
fn the_grant_holds_behind_the_admitters_chain_and_outlives_the_token() {
    let mut world = World::new();
    let grant = world.admit().unwrap();
    let chain = world.me.extend(grant.sign(&key(ISSUER), &mesh()).unwrap());
    let verified = chain.verify(&mesh(), world.clock.start().wall).unwrap();
    assert_eq!(*verified.subject(), node(JOINER));
    assert_eq!(verified.serve(), [prefix(JOINER)]);
    assert!(!verified.may_invite());
    assert!(verified.not_after() > world.spec.not_after + 24 * HOUR);
    assert!(verified.client_pool().is_some());
    let five_minutes = Duration::from_secs(300);
    assert!(
        chain
            .verify(&mesh(), world.clock.start().wall - five_minutes)
            .is_ok(),
        "a clock a little behind"
    );
}

#[test]
fn a_one_use_token_lets_one_in_and_its_retry_gets_the_same() {
    let mut world = World::new();
    let first = world.admit().unwrap();
    assert_eq!(world.decide(), Ok(Decision::Again(Box::new(first))));
    world.joiner = 8;
    let refusal = world.decide().unwrap_err();
    assert_eq!(refusal.code(), "used_up");
    assert!(refusal.to_string().contains(&node(JOINER).short()), "{refusal}");
}

#[test]
fn the_ledger_survives_a_restart() {
    let mut world = World::new();
    let first = world.admit().unwrap();
    world.ledger = Ledger::from_bytes(&world.ledger.to_bytes()).unwrap();
    assert_eq!(world.decide(), Ok(Decision::Again(Box::new(first))));
    let mut damaged = world.ledger.to_bytes();
    damaged.pop();
    assert!(Ledger::from_bytes(&damaged).is_err());
    world.ledger.prune(world.clock.at(24 * HOUR).wall);
    assert_eq!(world.ledger.uses().len(), 1);
    world.ledger.prune(world.clock.at(60 * 24 * HOUR).wall);
    assert!(world.ledger.uses().is_empty());
}

#[test]
fn a_token_for_three_lets_three_in() {
    let mut world = World::new();
    world.spec.uses = 3;
    for joiner in [7, 8, 9] {
        world.joiner = joiner;
        world.admit().unwrap();
    }
    world.joiner = 10;
    assert_eq!(world.decide().unwrap_err().code(), "used_up");
}

#[test]
fn an_expired_token_is_refused_by_our_clock() {
    let world = World::new();
    assert_eq!(
        world.decide_at(world.clock.at(25 * HOUR)).unwrap_err().code(),
        "token_expired"
    );
}

#[test]
fn only_the_issuer_decides_a_limited_token() {
    let mut world = World::new();
    world.me = founder_chain(2);
    let Ok(Decision::Forward(candidates)) = world.decide() else {
        panic!("must be forwarded")
    };
    assert_eq!(candidates.len(), 1);
    assert_eq!(
        (candidates[0].node, candidates[0].name.as_str()),
        (node(ISSUER), "node-1")
    );
    assert_eq!(candidates[0].endpoints, ["203.0.113.1:51820".parse().unwrap()]);
    world.forwarded = true;
    assert_eq!(world.decide().unwrap_err().code(), "issuer_unknown");
}

#[test]
fn an_issuer_that_is_not_in_the_mesh_is_named() {
    let mut world = World::new();
    world.me = founder_chain(2);
    world.directory = directory(&world.clock);
    let refusal = world.decide().unwrap_err();
    assert_eq!(refusal, Refusal::IssuerUnknown { issuer: node(ISSUER) });
    assert!(refusal.to_string().contains(&node(ISSUER).short()));
}

#[test]
fn a_fleet_token_is_decided_by_anyone_with_the_right() {
    let mut world = World::new();
    world.spec.uses = 0;
    world.me = founder_chain(2);
    let Ok(Decision::Admit { grant, record }) = world.decide() else {
        panic!("must admit")
    };
    assert_eq!((grant.issuer, record), (node(2), None));
    world.me = chain_by(2, 3);
    let Ok(Decision::Forward(candidates)) = world.decide() else {
        panic!("must be forwarded")
    };
    assert_eq!(candidates[0].node, node(ISSUER));
    assert_eq!(candidates.len(), 2);
    world.directory = directory(&world.clock);
    assert_eq!(world.decide().unwrap_err().code(), "nobody_may");
}

#[test]
fn more_than_the_token_allows_is_refused_with_the_prefix() {
    let mut world = World::new();
    world.serve = vec![prefix(JOINER), net("10.77.0.0/16")];
    let refusal = world.decide().unwrap_err();
    assert_eq!(refusal.code(), "wider_than_token");
    assert!(refusal.to_string().contains("10.77.0.0/16"));
    world.serve = vec![net("10.9.3.1/24")];
    assert_eq!(world.decide().unwrap_err().code(), "bad_prefix");
    world.serve = vec![net("10.9.3.0/24")];
    assert_eq!(world.admit().unwrap().serve, [net("10.9.3.0/24")]);
}

#[test]
fn a_token_that_allows_nothing_gives_nothing() {
    let mut world = World::new();
    world.spec.serve = vec![];
    assert!(world.admit().unwrap().serve.is_empty());
    world.ledger = Ledger::default();
    world.serve = vec![prefix(JOINER)];
    assert_eq!(world.decide().unwrap_err().code(), "wider_than_token");
}

#[test]
fn revoked_tokens_issuers_and_joiners_are_refused() {
    let mut world = World::new();
    let start = world.clock.start();
    world
        .directory
        .handle_revocation(&revocation(JOINER, false), start)
        .unwrap();
    assert_eq!(world.decide(), Err(Refusal::NodeRevoked));
    world.joiner = 8;
    assert!(world.decide().is_ok());
    world
        .directory
        .handle_revocation(&revocation(ISSUER, false), start)
        .unwrap();
    assert_eq!(world.decide(), Err(Refusal::TokenRevoked));
}

#[test]
fn a_revoked_token_is_refused() {
    let mut world = World::new();
    let token = Token::issue(world.spec.clone(), &key(ISSUER), &founder_chain(ISSUER), [7; 32]).unwrap();
    let revocation = meshnode_crypto::Revocation {
        target: meshnode_crypto::RevocationTarget::Token(token.public().serial()),
        descendants: false,
        issuer: node(ISSUER),
        issued_at: world.clock.start().wall,
        until: world.clock.at(25 * HOUR).wall,
    };
    let bytes = revocation.sign(&key(ISSUER), &mesh()).unwrap();
    world
        .directory
        .handle_revocation(bytes.as_bytes(), world.clock.start())
        .unwrap();
    assert_eq!(world.decide(), Err(Refusal::TokenRevoked));
}

#[test]
fn nobody_is_admitted_while_our_clock_is_unsure() {
    let world = World::new();
    let mut now = world.clock.start();
    now.wall = now.wall - HOUR / 2;
    assert_eq!(
        world.decide_at(now).unwrap_err(),
        Refusal::ClockUnsure { seconds: 1800 }
    );
}

#[test]
fn a_name_that_a_grant_binds_is_given_once() {
    let mut world = World::new();
    let name = Name::parse("gw").unwrap();
    let bound = Grant {
        name: Some(name.clone()),
        ..grant(&authority(), 5, &[])
    };
    let chain = GrantChain::from(bound.sign(&authority(), &mesh()).unwrap());
    let holder = body(5, chain, Duration::ZERO).sign(&key(5), &mesh()).unwrap();
    world
        .directory
        .handle_record(&holder, world.clock.start())
        .unwrap();
    world.spec.name = Some(name.clone());
    assert_eq!(
        world.decide(),
        Err(Refusal::NameTaken {
            name: name.clone(),
            holder: node(5)
        })
    );
    world.joiner = 5;
    assert_eq!(world.admit().unwrap().name, Some(name));
}

#[test]
fn a_full_mesh_admits_only_whom_it_knows() {
    let mut world = World::new();
    let config = crate::directory::DirectoryConfig {
        mesh: mesh(),
        self_id: node(0),
        max_members: 3,
    };
    world.directory = Directory::new(config, world.clock.start());
    for n in [ISSUER, 2] {
        world
            .directory
            .handle_record(&record(n, Duration::ZERO), world.clock.start())
            .unwrap();
    }
    assert_eq!(world.decide(), Err(Refusal::TableFull { capacity: 3 }));
    world.joiner = 2;
    assert!(world.decide().is_ok());
}

#[test]
fn nobody_lets_in_whom_it_descends_from() {
    let mut world = World::new();
    world.spec.uses = 0;
    world.joiner = ISSUER;
    assert_eq!(world.decide().unwrap_err().code(), "bad_grant");
}

#[test]
fn client_pools_differ_and_a_node_keeps_its_own() {
    let mut world = World::new();
    world.spec.uses = 0;
    let mut pools = std::collections::BTreeSet::new();
    for joiner in 20..60 {
        world.joiner = joiner;
        let grant = world.admit().unwrap();
        pools.insert(grant.client_pool.unwrap());
        let chain = world.me.extend(grant.sign(&key(ISSUER), &mesh()).unwrap());
        let mut body = body(joiner, chain, Duration::ZERO);
        body.prefixes.clear();
        let bytes = body.sign(&key(joiner), &mesh()).unwrap();
        world
            .directory
            .handle_record(&bytes, world.clock.start())
            .unwrap();
    }
    assert_eq!(pools.len(), 40);
    assert!(pools.iter().all(|pool| DEFAULT_CLIENT_RANGE.contains(pool)));
    let before = world.directory.record(&node(59)).unwrap().chain.client_pool();
    assert_eq!(world.admit().unwrap().client_pool, before);
}

#[test]
fn an_exhausted_client_range_gives_no_pool() {
    let range: Ipv4Net = "100.96.0.0/23".parse().unwrap();
    let mut taken = BTreeMap::new();
    for n in 1..=2 {
        taken.insert(free_pool(&node(n), range, &taken).unwrap(), node(n));
    }
    assert_eq!(free_pool(&node(3), range, &taken), None);
    assert_eq!(
        free_pool(&node(3), "100.96.0.0/25".parse().unwrap(), &BTreeMap::new()),
        None
    );
}
