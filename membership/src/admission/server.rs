//! The admitting end of a join: the conversation on one stream with a stranger.
//!
//! ```text
//! stranger ─ token ─────────────────────────► the actor: of our mesh, signed, not expired?
//!          ◄──────────────── our grant chain  (so that it can check us before it proves anything)
//!          ─ proof over the TLS exporter, what it wants ─► the actor decides or forwards
//!          ◄─────────────── its grant and records, or why not
//! ```

use std::time::Duration;

use meshnode_crypto::{NodeId, Signature};
use quinn::{Connection, RecvStream, SendStream};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::carrier::{Admission, CarrierEvent};
use crate::message::{Admitted, JoinRequest, Refused};
use crate::quic::stream::{FRAME_TIMEOUT, StreamError, read_frame, write_frame};

/// What the exporter is for (RFC 8446 §7.5).
pub(crate) const EXPORTER_LABEL: &[u8] = b"meshnode invitation";
/// The largest token.
pub(crate) const MAX_TOKEN: usize = 16 * 1024;
/// The largest proof with what is asked for: 500 prefixes and a name.
pub(crate) const MAX_PROOF: usize = 16 * 1024;
/// How long the decision may take: the issuer may have to be dialled, and disks to sync.
pub(crate) const DECISION: Duration = Duration::from_secs(20);

/// First answer to a stranger: the admitting member's chain.
pub(crate) type Offer = Result<Vec<u8>, Refused>;
/// Last answer to a stranger.
pub(crate) type Verdict = Result<Admitted, Refused>;

/// What the joiner proves and asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Proof {
    pub(crate) signature: Signature,
    pub(crate) request: JoinRequest,
}

/// 32 bytes that both ends of this connection know, and nobody else.
pub(crate) fn exporter(connection: &Connection) -> Result<[u8; 32], StreamError> {
    let mut bytes = [0; 32];
    connection
        .export_keying_material(&mut bytes, EXPORTER_LABEL, b"")
        .map_err(|_| StreamError::Broken("TLS exports no key".to_owned()))?;
    Ok(bytes)
}

/// Serves one admission stream of the node that proved to hold `joiner`.
pub(crate) async fn serve(
    connection: &Connection,
    joiner: NodeId,
    events: &mpsc::Sender<CarrierEvent>,
    send: &mut SendStream,
    receive: &mut RecvStream,
) -> Result<(), StreamError> {
    let token: Vec<u8> = read_frame(receive, MAX_TOKEN, FRAME_TIMEOUT).await?;
    let offer: Offer = ask(events, |answer| CarrierEvent::AdmissionOpened {
        token: token.clone(),
        answer,
    })
    .await?
    .map(|chain| chain.to_vec());
    write_frame(send, &offer).await?;
    if offer.is_ok() {
        let proof: Proof = read_frame(receive, MAX_PROOF, FRAME_TIMEOUT).await?;
        let Proof {
            signature: proof,
            request,
        } = proof;
        let exporter = exporter(connection)?;
        let admission = Box::new(Admission {
            token,
            exporter,
            joiner,
            proof,
            request,
        });
        let verdict: Verdict = ask(events, |answer| CarrierEvent::Admission { admission, answer }).await?;
        write_frame(send, &verdict).await?;
    }
    send.finish()
        .map_err(|error| StreamError::Broken(error.to_string()))?;
    // The joiner closes the connection when it has read the end.
    let _ = timeout(FRAME_TIMEOUT, send.stopped()).await;
    Ok(())
}

async fn ask<T>(
    events: &mpsc::Sender<CarrierEvent>,
    event: impl FnOnce(oneshot::Sender<T>) -> CarrierEvent,
) -> Result<T, StreamError> {
    let gone = || StreamError::Broken("stopping".to_owned());
    let (answer, answered) = oneshot::channel();
    events.send(event(answer)).await.map_err(|_| gone())?;
    timeout(DECISION, answered)
        .await
        .map_err(|_| StreamError::TimedOut)?
        .map_err(|_| gone())
}
