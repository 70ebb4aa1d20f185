//! Letting others in: joins, joins handed on by other members, renewals.

use meshnode_crypto::{Grant, GrantChain, Name, NodeId, SignedToken, VerifiedToken};
use tokio::sync::oneshot;

use super::actor::{Actor, Done, MAX_JOBS};
use super::network::refused;
use crate::admission::decide::{Candidate, Decision, Refusal, Request as Asked, decide};
use crate::carrier::Admission;
use crate::message::{Admitted, Answer, ForwardedAdmission, MAX_ANSWER, Refused, Request};
use crate::ports::StoreItem;
use crate::renewal::decide_renewal;

/// Room for the chain beside the records of an answer.
const ANSWER_HEAD: usize = 16 * 1024;

type Verdict = oneshot::Sender<Result<Admitted, Refused>>;

enum Outcome {
    Admitted(Admitted),
    Forward(Vec<Candidate>),
}

impl Actor {
    pub(super) fn check_mesh(&self, token: &VerifiedToken) -> Result<(), Refusal> {
        let ours = self.identity.mesh;
        if *token.mesh() == ours {
            return Ok(());
        }
        Err(Refusal::OtherMesh {
            wanted: token.mesh().short(),
            ours: ours.short(),
        })
    }

    /// Decides a join that was asked of us.
    pub(super) async fn admit(&mut self, admission: Admission, answer: Verdict) {
        // An answer that nobody waits for any more is no loss: the joiner will ask again.
        match self.decide(&admission, false).await {
            Ok(Outcome::Admitted(admitted)) => drop(answer.send(Ok(admitted))),
            Ok(Outcome::Forward(candidates)) => self.forward(admission, candidates, answer),
            Err(error) => drop(answer.send(Err(error))),
        }
    }

    /// Decides a join that another member handed on to us.
    pub(super) async fn decide_forwarded(
        &mut self,
        forwarded: ForwardedAdmission,
    ) -> Result<Admitted, Refused> {
        let ForwardedAdmission {
            token,
            exporter,
            joiner,
            proof,
            request,
        } = forwarded;
        let admission = Admission {
            token,
            exporter,
            joiner,
            proof,
            request,
        };
        match self.decide(&admission, true).await? {
            Outcome::Admitted(admitted) => Ok(admitted),
            Outcome::Forward(_) => Err(refused(&Refusal::NobodyMay)),
        }
    }

    /// A member asks for its grant again, to end later.
    pub(super) fn answer_renewal(&mut self, asker: &NodeId) -> Answer {
        let serial = self.serial();
        let known = self.directory.record(asker).map(|record| &record.chain);
        let Some(chain) = known.or_else(|| self.vouched.get(asker).map(|vouched| &vouched.chain)) else {
            let text = "this member does not know the asker's record yet; ask again later".to_owned();
            return Answer::Refused(Refused {
                code: "unknown".to_owned(),
                text,
            });
        };
        let decided = decide_renewal(chain, &self.admitter(), self.now(), serial);
        match decided.and_then(|grant| self.sign(&grant)) {
            Ok(chain) => Answer::Granted(Admitted {
                chain: chain.to_bytes(),
                records: Vec::new(),
            }),
            Err(refusal) => Answer::Refused(refused(&refusal)),
        }
    }

    /// The chain that ends in `grant`, signed by us.
    pub(super) fn sign(&self, grant: &Grant) -> Result<GrantChain, Refusal> {
        let signed = grant.sign(&self.identity.key, &self.identity.mesh)?;
        Ok(self.own.chain().0.extend(signed))
    }

    async fn decide(&mut self, admission: &Admission, forwarded: bool) -> Result<Outcome, Refused> {
        let serial = self.serial();
        let decision = self.judge(admission, forwarded, serial)?;
        let signed = match decision {
            Decision::Forward(candidates) => return Ok(Outcome::Forward(candidates)),
            Decision::Again(grant) => self.sign(&grant),
            Decision::Admit { grant, record: None } => self.sign(&grant),
            Decision::Admit {
                grant,
                record: Some(used),
            } => {
                let (token, joiner) = (used.token, used.joiner);
                self.ledger.add(*used);
                match self
                    .keeper
                    .try_save(StoreItem::Admissions, self.ledger.to_bytes())
                    .await
                {
                    Ok(()) => self.sign(&grant),
                    Err(error) => {
                        self.ledger.remove(&token, &joiner);
                        Err(Refusal::Store {
                            error: error.to_string(),
                        })
                    }
                }
            }
        };
        let chain = signed.map_err(|refusal| refused(&refusal))?;
        tracing::info!(node = %admission.joiner.short(), name = %admission.request.name, "node admitted");
        Ok(Outcome::Admitted(Admitted {
            chain: chain.to_bytes(),
            records: self.first_records(),
        }))
    }

    fn judge(
        &self,
        admission: &Admission,
        forwarded: bool,
        serial: meshnode_crypto::Serial,
    ) -> Result<Decision, Refused> {
        let now = self.now();
        let name = Name::parse(&admission.request.name).map_err(|error| Refused {
            code: "bad_name".to_owned(),
            text: error.to_string(),
        })?;
        let decided = || {
            let token = SignedToken::from_bytes(&admission.token)?.verify(now.wall)?;
            self.check_mesh(&token)?;
            token.check_proof(&admission.exporter, &admission.joiner, &admission.proof)?;
            let asked = Asked {
                token: &token,
                joiner: admission.joiner,
                name: &name,
                serve: &admission.request.serve,
                forwarded,
            };
            decide(&asked, &self.admitter(), now, serial)
        };
        decided().map_err(|refusal: Refusal| refused(&refusal))
    }

    // Records for the joiner to begin with, as many as one answer holds.
    fn first_records(&self) -> Vec<Vec<u8>> {
        let mut size = 0;
        let fits = |record: &&bytes::Bytes| {
            size += record.len() + 4;
            size <= MAX_ANSWER - ANSWER_HEAD
        };
        self.directory
            .records()
            .take_while(fits)
            .map(|record| record.to_vec())
            .collect()
    }

    fn forward(&mut self, admission: Admission, candidates: Vec<Candidate>, answer: Verdict) {
        if self.jobs.len() >= MAX_JOBS {
            let text = "too many joins at once; try again".to_owned();
            return drop(answer.send(Err(Refused {
                code: "busy".to_owned(),
                text,
            })));
        }
        let Admission {
            token,
            exporter,
            joiner,
            proof,
            request,
        } = admission;
        let request = Request::Forward(ForwardedAdmission {
            token,
            exporter,
            joiner,
            proof,
            request,
        });
        let carrier = self.out.carrier.clone();
        self.jobs.spawn(async move {
            let mut verdict = None;
            for candidate in &candidates {
                match carrier.request(candidate.node, request.clone()).await {
                    Ok(Answer::Granted(admitted)) => verdict = Some(Ok(admitted)),
                    Ok(Answer::Refused(refused)) => verdict = Some(Err(refused)),
                    Err(error) => {
                        tracing::debug!(node = %candidate.name, %error, "admission not handed on");
                        continue;
                    }
                }
                break;
            }
            let name = candidates
                .first()
                .map(|candidate| candidate.name.clone())
                .unwrap_or_default();
            drop(answer.send(verdict.unwrap_or_else(|| Err(refused(&Refusal::IssuerDown { name })))));
            Done::Nothing
        });
    }
}
