//! What arrives from others.

use std::net::SocketAddr;

use bytes::Bytes;
use meshnode_crypto::{GrantChain, NodeId, SignedToken, mesh_address};

use super::actor::{Actor, Vouched};
use crate::admission::decide::Refusal;
use crate::carrier::CarrierEvent;
use crate::gossip::dissemination::GossipEvent;
use crate::message::{Answer, Message, Refused, Request};

/// Addresses of one node that are remembered as good.
const MAX_GOOD: usize = 4;
/// Revocations sent with a greeting, in bytes: the rest comes by gossip.
const GREETING: usize = 64 * 1024;

impl Actor {
    pub(super) async fn handle_carrier(&mut self, event: CarrierEvent) {
        match event {
            CarrierEvent::Connected {
                node,
                remote,
                dialled,
            } => self.connected(node, remote, dialled),
            CarrierEvent::Message { from, message } => self.handle_message(from, message).await,
            CarrierEvent::Request {
                from,
                request,
                answer,
            } => match request {
                Request::Renew => drop(answer.send(self.answer_renewal(&from))),
                Request::Forward(forwarded) => {
                    let decided = self.decide_forwarded(forwarded).await;
                    let decided = decided.map_or_else(Answer::Refused, Answer::Granted);
                    drop(answer.send(decided));
                }
            },
            CarrierEvent::AdmissionOpened { token, answer } => drop(answer.send(self.open_admission(&token))),
            CarrierEvent::Admission { admission, answer } => self.admit(*admission, answer).await,
        }
    }

    pub(super) fn handle_gossip(&mut self, event: GossipEvent) -> bool {
        let now = self.now();
        match event {
            GossipEvent::Found { records, revocations } => {
                for revocation in &revocations {
                    self.take_revocation(revocation, None);
                }
                for record in &records {
                    // Refusals are counted there; gossip spreads the rest by itself.
                    let _ = self.directory.handle_record(record, now);
                }
            }
            GossipEvent::Refused { from, violation } => {
                let source = self
                    .directory
                    .node_at(from)
                    .map_or(from.to_string(), |node| node.to_string());
                self.directory.note_rejected(&source, violation.as_str(), now);
            }
            GossipEvent::TableFull => self.say_full(now),
        }
        true
    }

    /// The address answered: it is dialled first from now on.
    pub(super) fn found_good(&mut self, node: NodeId, endpoint: SocketAddr) {
        let good = self.good.entry(node).or_default();
        if good.first() != Some(&endpoint) {
            good.retain(|other| *other != endpoint);
            good.insert(0, endpoint);
            good.truncate(MAX_GOOD);
            self.settling.peers_changed();
            self.settling.book_changed();
        }
    }

    fn connected(&mut self, node: NodeId, remote: SocketAddr, dialled: bool) {
        if dialled {
            self.found_good(node, remote);
        }
        let carrier = &self.out.carrier;
        carrier.send(node, Message::Observed(remote));
        if let Some(own) = self.own.published() {
            carrier.send(node, Message::Records(vec![own.bytes.to_vec()]));
        }
        let mut size = 0;
        let revocations: Vec<Vec<u8>> = self
            .directory
            .revocations()
            .map(|(_, bytes)| bytes.to_vec())
            .collect();
        let fitting: Vec<_> = revocations
            .into_iter()
            .take_while(|bytes| {
                size += bytes.len();
                size <= GREETING
            })
            .collect();
        if !fitting.is_empty() {
            carrier.send(node, Message::Revocations(fitting));
        }
        if let Some(chain) = self.offered.get(&node) {
            carrier.send(node, Message::Grant(chain.to_bytes().into()));
        }
        let address = mesh_address(&self.identity.mesh, &node);
        if !self.out.gossip.live().contains(&address) {
            self.out.gossip.introduce(address);
        }
    }

    async fn handle_message(&mut self, from: NodeId, message: Message) {
        match message {
            Message::Hello(chain) => self.handle_hello(from, &chain),
            Message::Gossip(bytes) => {
                self.out
                    .gossip
                    .receive(mesh_address(&self.identity.mesh, &from), bytes);
            }
            Message::Records(records) => self.handle_records(from, &records),
            Message::Revocations(revocations) => {
                for revocation in &revocations {
                    self.take_revocation(revocation, Some(from));
                }
            }
            Message::Observed(endpoint) => {
                self.observed.handle_report(from, endpoint, self.now().monotonic);
                self.own.observe(self.observed.endpoints());
            }
            Message::Grant(chain) => self.handle_grant(&chain).await,
        }
    }

    // A stranger shows its grants: if they hold, it is a member whose record has not come yet.
    fn handle_hello(&mut self, from: NodeId, bytes: &[u8]) {
        let now = self.now();
        let verified =
            GrantChain::from_bytes(bytes).and_then(|chain| chain.verify_at_any_time(&self.identity.mesh));
        let refused = match verified {
            Ok(chain) if *chain.subject() != from => "it is another node's".to_owned(),
            Ok(chain) if !self.directory.admits(&chain, now) => "it is over, or revoked".to_owned(),
            Ok(chain) if self.has_room_for(&from) => {
                self.vouched.insert(
                    from,
                    Vouched {
                        chain,
                        since: now.monotonic,
                    },
                );
                self.settling.book_changed();
                return;
            }
            Ok(_) => {
                self.say_full(now);
                "the mesh is full".to_owned()
            }
            Err(error) => error.to_string(),
        };
        tracing::debug!(node = %from.short(), %refused, "the grant shown does not let it in");
        self.out.carrier.refuse(from);
    }

    fn has_room_for(&self, node: &NodeId) -> bool {
        let room = self.vouched.len() < self.directory.capacity() || self.vouched.contains_key(node);
        room && self.directory.has_room_for(node)
    }

    fn handle_records(&mut self, from: NodeId, records: &[Vec<u8>]) {
        let now = self.now();
        for record in records {
            match self.directory.handle_record(record, now) {
                Ok(accepted) if accepted.change.is_news() => {
                    self.settling.pass_on_record(accepted.node, from)
                }
                Ok(_) => {}
                Err(reason) => {
                    tracing::debug!(from = %from.short(), reason = reason.as_str(), "record refused");
                }
            }
        }
    }

    /// Takes a revocation; a new one is passed on and kept.
    pub(super) fn take_revocation(&mut self, bytes: &[u8], from: Option<NodeId>) {
        let now = self.now();
        match self.directory.handle_revocation(bytes, now) {
            Ok(true) => self.settling.pass_on_revocation(bytes.to_vec(), from),
            Ok(false) => {}
            Err(reason) => tracing::debug!(reason = reason.as_str(), "revocation refused"),
        }
    }

    fn open_admission(&self, token: &[u8]) -> Result<Bytes, Refused> {
        let now = self.now();
        let check = || {
            let token = SignedToken::from_bytes(token)?.verify(now.wall)?;
            self.check_mesh(&token)
        };
        check().map_err(|refusal: Refusal| refused(&refusal))?;
        Ok(self.own.chain().0.to_bytes().into())
    }
}

/// A refusal as it crosses the wire.
pub(super) fn refused(refusal: &Refusal) -> Refused {
    Refused {
        code: refusal.code().to_owned(),
        text: refusal.to_string(),
    }
}
