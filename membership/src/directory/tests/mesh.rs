//! Several directories that meet now and then: in the end they say the same.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::view::NodeView;

const NODES: u8 = 5;

#[derive(Clone, Copy, Debug)]
enum Step {
    Publish(u8),
    Depart(u8),
    Revoke(u8, bool),
    Meet(u8, u8),
}

fn step() -> impl Strategy<Value = Step> {
    let n = || 1..=NODES;
    prop_oneof![
        4 => n().prop_map(Step::Publish),
        1 => n().prop_map(Step::Depart),
        1 => (n(), any::<bool>()).prop_map(|(n, below)| Step::Revoke(n, below)),
        4 => (n(), n()).prop_map(|(a, b)| Step::Meet(a, b)),
    ]
}

struct Mesh {
    clock: Clock,
    // A minute passes with every step.
    after: Duration,
    directories: BTreeMap<u8, Directory>,
}

impl Mesh {
    fn new() -> Self {
        let clock = Clock::new();
        let directory = |n| {
            let config = DirectoryConfig {
                mesh: mesh(),
                self_id: node(n),
                max_members: 100,
            };
            (n, Directory::new(config, clock.start()))
        };
        let mut mesh = Mesh {
            clock,
            after: ZERO,
            directories: (1..=NODES).map(directory).collect(),
        };
        (1..=NODES).for_each(|n| mesh.publish(n, false));
        mesh
    }

    fn now(&self) -> Now {
        self.clock.at(self.after)
    }

    fn publish(&mut self, n: u8, departed: bool) {
        let chain = if n.is_multiple_of(2) {
            chain_by(n - 1, n)
        } else {
            founder_chain(n)
        };
        let bytes = signed(n, chain, self.after, |body| body.departed = departed);
        self.directories
            .get_mut(&n)
            .unwrap()
            .set_own(authenticate(&bytes, &mesh()).unwrap());
    }

    fn meet(&mut self, from: u8, to: u8) {
        let now = self.now();
        let giver = &self.directories[&from];
        let records: Vec<_> = giver.records().cloned().collect();
        let revocations: Vec<_> = giver.revocations().map(|(_, bytes)| bytes.to_vec()).collect();
        let taker = self.directories.get_mut(&to).unwrap();
        // Records of nodes that the taker knows to be revoked are refused, as they should be.
        for bytes in records {
            let _ = taker.handle_record(&bytes, now);
        }
        for bytes in revocations {
            let _ = taker.handle_revocation(&bytes, now);
        }
    }

    fn take(&mut self, step: Step) {
        self.after += MINUTE;
        let now = self.now();
        match step {
            Step::Publish(n) => self.publish(n, false),
            Step::Depart(n) => self.publish(n, true),
            Step::Revoke(n, below) => {
                let somebody = self.directories.get_mut(&(n % NODES + 1)).unwrap();
                somebody.handle_revocation(&revocation(n, below), now).unwrap();
            }
            Step::Meet(a, b) => {
                self.meet(a, b);
                self.meet(b, a);
            }
        }
    }

    fn everybody_meets(&mut self) {
        for _ in 0..2 {
            for a in 1..=NODES {
                (1..=NODES).filter(|b| *b != a).for_each(|b| self.meet(a, b));
            }
        }
    }

    // What each node that is still in says of all, itself included.
    fn views(&self) -> Vec<BTreeMap<NodeId, NodeView>> {
        let view = |directory: &Directory| {
            let view = directory.view(self.now());
            let out = directory.is_revoked(&directory.own.as_ref().unwrap().chain);
            let own = view.own.unwrap();
            let mut nodes = view.nodes;
            if !own.departed {
                nodes.insert(own.id, own);
            }
            (!out).then_some(nodes)
        };
        self.directories.values().filter_map(view).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn nodes_that_were_parted_agree_when_all_have_met(steps in prop::collection::vec(step(), 0..30)) {
        let mut mesh = Mesh::new();
        steps.into_iter().for_each(|step| mesh.take(step));
        mesh.everybody_meets();
        let views = mesh.views();
        for view in &views {
            prop_assert_eq!(view, &views[0]);
        }
    }
}
