//! Joining: asking every seed until one lets us in.
//!
//! The seed proves first that it is a member of the token's mesh; only then do we prove that we hold the
//! invitation. The invitation's secret itself never leaves this node.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use meshnode_crypto::{GrantChain, GrantError, MeshId, NodeId, SigningKey, Token, UnixMillis};
use quinn::{Connection, RecvStream, SendStream};
use tokio::time::{sleep, timeout};

use super::server::{DECISION, EXPORTER_LABEL, Offer, Proof, Verdict};
use crate::api::{EnrolError, EnrolRequest, Enrolment, SeedProblem};
use crate::message::{Admitted, JoinRequest, MAX_ANSWER, Refused};
use crate::quic::endpoint::{CloseReason, DialError, QuicEndpoint, peer_key};
use crate::quic::stream::{self, FRAME_TIMEOUT, StreamError, read_frame, write_frame, write_kind};

/// How long after one seed the next is dialled.
const STAGGER: Duration = Duration::from_millis(200);
/// How long a seed may take to answer the dial.
const DIAL: Duration = Duration::from_secs(8);
/// Most seeds that are asked.
const MAX_SEEDS: usize = 64;

/// A seed that proved to be a member of the token's mesh.
struct Member {
    seed: SocketAddr,
    connection: Connection,
    send: SendStream,
    receive: RecvStream,
}

/// Asks `seeds` for admission with `token`; `key` is the identity to be let in. The endpoint must not be
/// in use by a running [`crate::service::Membership`].
pub async fn enrol(
    endpoint: &QuicEndpoint,
    key: &SigningKey,
    token: &Token,
    seeds: &[SocketAddr],
    request: EnrolRequest,
    now: UnixMillis,
) -> Result<Enrolment, EnrolError> {
    let mesh = token.public().read_unverified()?.mesh;
    if seeds.is_empty() {
        return Err(EnrolError::NoSeeds);
    }
    let request = JoinRequest {
        name: request.name.to_string(),
        serve: request.serve,
    };
    let joining = Joining {
        endpoint,
        token,
        mesh,
        now,
    };
    let mut offers: FuturesUnordered<_> = seeds
        .iter()
        .take(MAX_SEEDS)
        .enumerate()
        .map(|(index, seed)| joining.meet(*seed, STAGGER * index as u32))
        .collect();
    let mut problems = Vec::new();
    while let Some(offer) = offers.next().await {
        let (seed, answer) = match offer {
            Ok(member) => (member.seed, joining.ask_twice(member, key, &request).await),
            Err((seed, problem)) => (seed, Err(problem)),
        };
        match answer {
            Ok(admitted) => return joining.check(admitted, key),
            Err(problem) => problems.push((seed, problem)),
        }
    }
    problems.sort_by_key(|(seed, _)| seeds.iter().position(|other| other == seed));
    Err(EnrolError::Seeds(problems))
}

struct Joining<'a> {
    endpoint: &'a QuicEndpoint,
    token: &'a Token,
    mesh: MeshId,
    now: UnixMillis,
}

impl Joining<'_> {
    async fn meet(&self, seed: SocketAddr, delay: Duration) -> Result<Member, (SocketAddr, SeedProblem)> {
        sleep(delay).await;
        self.try_meet(seed).await.map_err(|problem| (seed, problem))
    }

    async fn try_meet(&self, seed: SocketAddr) -> Result<Member, SeedProblem> {
        let dialled = timeout(DIAL, self.endpoint.dial(seed, None)).await;
        let connection = dialled.map_err(|_| SeedProblem::Silent)?.map_err(dial_problem)?;
        let Some(node) = peer_key(&connection) else {
            return Err(SeedProblem::NotAMeshnode("it showed no key".to_owned()));
        };
        let (mut send, mut receive) = connection.open_bi().await.map_err(broken)?;
        write_kind(&mut send, stream::ADMISSION)
            .await
            .map_err(stream_problem)?;
        write_frame(&mut send, &self.token.public().as_bytes())
            .await
            .map_err(stream_problem)?;
        let offer: Offer = read_frame(&mut receive, MAX_ANSWER, FRAME_TIMEOUT)
            .await
            .map_err(stream_problem)?;
        self.check_seed(&offer.map_err(refusal)?, &node)?;
        Ok(Member {
            seed,
            connection,
            send,
            receive,
        })
    }

    fn check_seed(&self, chain: &[u8], node: &NodeId) -> Result<(), SeedProblem> {
        let chain = GrantChain::from_bytes(chain).map_err(SeedProblem::NotAMember)?;
        let verified = match chain.verify(&self.mesh, self.now) {
            Ok(verified) => verified,
            Err(GrantError::WrongMesh { .. }) => return Err(SeedProblem::OtherMesh),
            Err(error) => return Err(SeedProblem::NotAMember(error)),
        };
        if verified.subject() == node {
            Ok(())
        } else {
            Err(SeedProblem::OtherMesh)
        }
    }

    // A seed that waited while others were asked may have lost patience with us.
    async fn ask_twice(
        &self,
        member: Member,
        key: &SigningKey,
        request: &JoinRequest,
    ) -> Result<Admitted, SeedProblem> {
        let seed = member.seed;
        match self.ask(member, key, request).await {
            Err(SeedProblem::Broken(_)) => self.ask(self.try_meet(seed).await?, key, request).await,
            answer => answer,
        }
    }

    async fn ask(
        &self,
        mut member: Member,
        key: &SigningKey,
        request: &JoinRequest,
    ) -> Result<Admitted, SeedProblem> {
        let mut exporter = [0; 32];
        member
            .connection
            .export_keying_material(&mut exporter, EXPORTER_LABEL, b"")
            .map_err(|_| SeedProblem::Broken("TLS exports no key".to_owned()))?;
        let signature = self.token.prove(&exporter, &key.public_key());
        let proof = Proof {
            signature,
            request: request.clone(),
        };
        write_frame(&mut member.send, &proof)
            .await
            .map_err(stream_problem)?;
        let verdict: Verdict = read_frame(&mut member.receive, MAX_ANSWER, DECISION + FRAME_TIMEOUT)
            .await
            .map_err(stream_problem)?;
        member.connection.close(CloseReason::Stopping.code(), b"done");
        verdict.map_err(refusal)
    }

    fn check(&self, admitted: Admitted, key: &SigningKey) -> Result<Enrolment, EnrolError> {
        let chain = GrantChain::from_bytes(&admitted.chain).map_err(EnrolError::Grant)?;
        let verified = chain.verify(&self.mesh, self.now).map_err(EnrolError::Grant)?;
        if *verified.subject() != key.public_key() {
            return Err(EnrolError::Grant(GrantError::NotTheIssuer {
                issuer: *verified.subject(),
                signer: key.public_key(),
            }));
        }
        let first_records = admitted.records.into_iter().map(Bytes::from).collect();
        Ok(Enrolment {
            mesh: self.mesh,
            chain,
            first_records,
        })
    }
}

fn dial_problem(error: DialError) -> SeedProblem {
    match error {
        DialError::NoAnswer(_) => SeedProblem::Silent,
        DialError::Unusable { reason, .. } => SeedProblem::Broken(reason),
        DialError::Refused { reason, .. } => SeedProblem::NotAMeshnode(reason),
        DialError::WrongKey(_) => SeedProblem::NotAMeshnode("it holds no ed25519 key".to_owned()),
    }
}

fn refusal(refused: Refused) -> SeedProblem {
    if refused.code == "other_mesh" {
        return SeedProblem::OtherMesh;
    }
    SeedProblem::Refused {
        code: refused.code,
        text: refused.text,
    }
}

fn stream_problem(error: StreamError) -> SeedProblem {
    match error {
        StreamError::Malformed(_) | StreamError::TooLarge { .. } => {
            SeedProblem::NotAMeshnode(error.to_string())
        }
        other => SeedProblem::Broken(other.to_string()),
    }
}

fn broken(error: impl std::fmt::Display) -> SeedProblem {
    SeedProblem::Broken(error.to_string())
}
