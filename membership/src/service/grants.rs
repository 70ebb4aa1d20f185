//! What this node grants and revokes, and the grants that it gets.

use meshnode_crypto::{
    Grant, GrantChain, Revocation, RevocationTarget, Serial, SigningKey, Token, TokenSpec, UnixMillis,
    VerifiedChain, covers,
};
use rand::RngExt;
use tokio::sync::oneshot;

use super::actor::{Actor, Done, MAX_JOBS};
use super::keeper::IssuedToken;
use crate::admission::decide::{CLOCK_MARGIN, GRANT_LIFE, Refusal, check_clock, life_end};
use crate::api::{
    GrantFailure, GrantOutcome, GrantRequest, InviteError, InviteRequest, MembershipEvent, Now, RevokeError,
};
use crate::message::{Answer, Message, Request, encode};
use crate::ports::StoreItem;

/// Issued tokens that are remembered, for revoking them.
const MAX_TOKENS: usize = 10_000;
/// Grants that wait for their node to connect.
const MAX_OFFERED: usize = 1_000;

impl Actor {
    pub(super) async fn invite(&mut self, request: InviteRequest) -> Result<Token, InviteError> {
        let now = self.now();
        if let Some(skew) = self.directory.clock_skew(now) {
            return Err(InviteError::ClockUnsure { seconds: skew / 1000 });
        }
        let not_after = now.wall + request.lifetime;
        let spec = TokenSpec {
            mesh: self.identity.mesh,
            seeds: request.seeds,
            serve: request.serve,
            delegate: request.delegate,
            name: request.name,
            uses: request.uses,
            not_after,
        };
        let entropy = self.rng.random();
        let token = Token::issue(spec, &self.identity.key, self.own.chain().0, entropy)?;
        self.tokens
            .retain(|issued| now.wall <= issued.not_after + GRANT_LIFE);
        if self.tokens.len() >= MAX_TOKENS {
            self.tokens.remove(0);
        }
        self.tokens.push(IssuedToken {
            serial: token.public().serial(),
            not_after,
        });
        let saved = self
            .keeper
            .try_save(StoreItem::Tokens, encode(&self.tokens))
            .await;
        saved.map_err(InviteError::Store)?;
        Ok(token)
    }

    pub(super) fn grant(
        &mut self,
        request: GrantRequest,
        answer: oneshot::Sender<Result<GrantOutcome, GrantFailure>>,
    ) {
        let node = request.node;
        let made = self.make_grant(request);
        let (chain, not_after) = match made {
            Ok(made) => made,
            Err(failure) => return drop(answer.send(Err(failure))),
        };
        if node == self.identity.node {
            self.adopt(chain);
            return drop(answer.send(Ok(GrantOutcome {
                not_after,
                delivered: true,
            })));
        }
        if self.offered.len() < MAX_OFFERED || self.offered.contains_key(&node) {
            self.offered.insert(node, chain.clone());
        }
        let delivery = self
            .out
            .carrier
            .deliver(node, Message::Grant(chain.to_bytes().into()));
        self.jobs.spawn(async move {
            let delivered = delivery.await;
            drop(answer.send(Ok(GrantOutcome { not_after, delivered })));
            Done::Delivered(node, delivered)
        });
    }

    fn make_grant(&mut self, request: GrantRequest) -> Result<(GrantChain, UnixMillis), GrantFailure> {
        let now = self.now();
        check_clock(&self.admitter(), now)?;
        let serial = self.serial();
        if request.node == self.identity.node {
            let grant = self
                .root_grant(now, serial, Some(request))
                .ok_or(Refusal::NobodyMay)?;
            return Ok((GrantChain::from(grant.0), grant.1));
        }
        let record = self
            .directory
            .record(&request.node)
            .ok_or(GrantFailure::UnknownNode(request.node))?;
        if self.directory.is_barred(&request.node, self.own.chain().1) {
            return Err(Refusal::NodeRevoked.into());
        }
        let grant = widened(record.chain.clone(), request, self.own.chain().1, now, serial);
        self.own
            .chain()
            .1
            .check_invitation(&grant.serve, &grant.delegate)?;
        let chain = self.sign(&grant)?;
        let not_after = chain.verify(&self.identity.mesh, now.wall)?.not_after();
        Ok((chain, not_after))
    }

    pub(super) async fn revoke(
        &mut self,
        target: RevocationTarget,
        descendants: bool,
    ) -> Result<(), RevokeError> {
        let now = self.now().wall;
        let (signer, until) = self.revoker(&target, now)?;
        let revocation = Revocation {
            target,
            descendants,
            issuer: signer.public_key(),
            issued_at: now,
            until,
        };
        let signed = revocation.sign(&signer, &self.identity.mesh)?;
        self.take_revocation(signed.as_bytes(), None);
        self.save_revocations().await.map_err(RevokeError::Store)
    }

    // With which key, and until when the revocation matters.
    fn revoker(
        &self,
        target: &RevocationTarget,
        now: UnixMillis,
    ) -> Result<(SigningKey, UnixMillis), RevokeError> {
        let authority = self.identity.authority.clone();
        match target {
            RevocationTarget::Node(node) => {
                let chain = self.directory.record(node).map(|record| &record.chain);
                let until = chain.map_or(now + GRANT_LIFE, VerifiedChain::not_after);
                let is_ancestor = chain.is_some_and(|chain| chain.issuers().contains(&self.identity.node));
                match (authority, chain) {
                    (Some(key), _) => Ok((key, until)),
                    (None, None) => Err(RevokeError::UnknownNode(*node)),
                    (None, Some(_)) if is_ancestor => Ok((self.identity.key.clone(), until)),
                    (None, Some(_)) => Err(RevokeError::NotAnAncestor(*node)),
                }
            }
            RevocationTarget::Token(serial) => {
                // Who came by the token last has a grant for a year from then.
                let issued = self.tokens.iter().find(|issued| issued.serial == *serial);
                let until = issued.map_or(now, |issued| issued.not_after) + GRANT_LIFE;
                match (issued, authority) {
                    (Some(_), _) => Ok((self.identity.key.clone(), until)),
                    (None, Some(key)) => Ok((key, until)),
                    (None, None) => Err(RevokeError::NotTheIssuer(*serial)),
                }
            }
        }
    }

    /// A member gives us a new grant: taken if it is ours, later, and no less than we have, or by somebody
    /// who let us in.
    pub(super) async fn handle_grant(&mut self, bytes: &[u8]) {
        let offered = GrantChain::from_bytes(bytes).and_then(|chain| {
            chain
                .verify(&self.identity.mesh, self.now().wall)
                .map(|verified| (chain, verified))
        });
        match offered {
            Ok((chain, verified))
                if improves(&verified, self.own.chain().1) && self.is_welcome(&verified) =>
            {
                self.adopt(chain);
            }
            Ok(_) => tracing::debug!("a grant was offered that is no better than ours"),
            Err(error) => tracing::debug!(%error, "a grant was offered that does not hold"),
        }
    }

    fn is_welcome(&self, offered: &VerifiedChain) -> bool {
        *offered.subject() == self.identity.node && !self.directory.is_revoked(offered)
    }

    fn adopt(&mut self, chain: GrantChain) {
        if let Err(error) = self.own.replace_chain(chain) {
            tracing::warn!(%error, "a new grant cannot be used");
            return;
        }
        let (chain, verified) = self.own.chain();
        let not_after = verified.not_after();
        self.out.carrier.set_hello(chain.to_bytes().into());
        self.renewal.renewed();
        self.settling.chain_changed();
        tracing::info!(%not_after, "this node's grant was replaced");
        self.say(MembershipEvent::GrantReplaced { not_after });
    }

    /// Asks for a renewal when it is time; a founder that keeps the authority's key renews itself.
    pub(super) async fn renew(&mut self, now: Now) {
        if self.renewing
            || now.wall < self.renewal.poll_timeout(self.own.chain().1)
            || self.jobs.len() >= MAX_JOBS
        {
            return;
        }
        let serial = self.serial();
        if let Some((grant, _)) = self.root_grant(now, serial, None) {
            return self.adopt(GrantChain::from(grant));
        }
        let candidates = self
            .renewal
            .handle_timeout(self.own.chain().1, &self.directory, now);
        let carrier = self.out.carrier.clone();
        self.renewing = true;
        self.jobs.spawn(async move {
            for node in candidates {
                match carrier.request(node, Request::Renew).await {
                    Ok(Answer::Granted(admitted)) => return Done::Renewed(Some(admitted.chain)),
                    Ok(Answer::Refused(refused)) => {
                        tracing::debug!(node = %node.short(), %refused, "not renewed")
                    }
                    Err(error) => tracing::debug!(node = %node.short(), %error, "not renewed"),
                }
            }
            Done::Renewed(None)
        });
    }

    pub(super) async fn handle_done(&mut self, done: Done) -> bool {
        match done {
            Done::Nothing => {}
            Done::Delivered(node, delivered) => {
                if delivered {
                    self.offered.remove(&node);
                }
            }
            Done::Renewed(chain) => {
                self.renewing = false;
                if let Some(chain) = chain {
                    self.handle_grant(&chain).await;
                }
                let now = self.now().wall;
                if now >= self.renewal.poll_timeout(self.own.chain().1) {
                    let not_after = self.own.chain().1.not_after();
                    tracing::warn!(%not_after, "nobody renewed this node's grant; trying again later");
                    self.renewal.failed(now);
                }
            }
        }
        true
    }

    // A new root link for ourselves, where the authority's key is at hand and our grant is directly from it.
    fn root_grant(
        &self,
        now: Now,
        serial: Serial,
        request: Option<GrantRequest>,
    ) -> Option<(meshnode_crypto::SignedGrant, UnixMillis)> {
        let authority = self.identity.authority.as_ref()?;
        let chain = self.own.chain().1;
        let root = chain
            .links()
            .next_back()
            .filter(|link| link.issuer == authority.public_key())?;
        let not_after = now.wall + GRANT_LIFE;
        let mut grant = Grant {
            not_before: now.wall - CLOCK_MARGIN,
            not_after,
            serial,
            ..root.clone()
        };
        if let Some(request) = request {
            grant.serve = request.serve;
            grant.delegate = request.delegate.unwrap_or(grant.delegate);
        }
        match grant.sign(authority, &self.identity.mesh) {
            Ok(signed) => Some((signed, not_after)),
            Err(error) => {
                tracing::warn!(%error, "the authority's key cannot renew this node's grant");
                None
            }
        }
    }
}

fn widened(
    held: VerifiedChain,
    request: GrantRequest,
    ours: &VerifiedChain,
    now: Now,
    serial: Serial,
) -> Grant {
    Grant {
        issuer: *ours.subject(),
        subject: request.node,
        serve: request.serve,
        delegate: request.delegate.unwrap_or_else(|| held.delegate().to_vec()),
        name: held.name().cloned(),
        not_before: now.wall - CLOCK_MARGIN,
        not_after: life_end(ours, now.wall),
        serial,
        client_pool: held.client_pool(),
        client_range: None,
        token: held.token(),
    }
}

// Only those who let us in may take something away.
fn improves(offered: &VerifiedChain, held: &VerifiedChain) -> bool {
    let ancestors = held.issuers();
    let by_ancestor = offered
        .issuers()
        .last()
        .is_some_and(|issuer| ancestors.contains(issuer));
    let covers_all =
        |wide: &[ipnet::IpNet], list: &[ipnet::IpNet]| list.iter().all(|prefix| covers(wide, prefix));
    let no_less =
        covers_all(offered.serve(), held.serve()) && covers_all(offered.delegate(), held.delegate());
    let later = offered.issued() > held.issued() || offered.not_after() > held.not_after();
    later && (by_ancestor || no_less)
}
