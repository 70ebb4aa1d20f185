//! What the engine noticed goes to whom it concerns: the node, whoever asked, the other lanes.

use super::Lane;
use super::engine::EngineEvent;
use crate::event::DataplaneEvent;
use crate::path::runs::Verdict;

impl Lane {
    /// Passes on what there is.
    pub(super) fn report(&mut self) {
        while let Some(event) = self.engine.poll_event() {
            match event {
                EngineEvent::Pong { id, rtt } => self.pings.handle_pong(id, rtt),
                EngineEvent::Active { peer, at } => self.link.tell(peer, at),
                EngineEvent::PeerUp { peer } => self.tell(DataplaneEvent::PeerUp { peer }),
                EngineEvent::PeerDown { peer, reason } => {
                    self.tell(DataplaneEvent::PeerDown { peer, reason })
                }
                EngineEvent::PathChanged { peer, change } => {
                    self.tell(DataplaneEvent::PathChanged { peer, change });
                }
                EngineEvent::PathSwitched {
                    peer,
                    from,
                    to,
                    reason,
                } => self.tell(DataplaneEvent::PathSwitched {
                    peer,
                    from,
                    to,
                    reason,
                }),
                EngineEvent::EndpointMoved { peer, from, to } => {
                    self.tell(DataplaneEvent::EndpointMoved { peer, from, to });
                }
                EngineEvent::LaneSilent { peer, at } => {
                    let lane = self.index;
                    self.tell(DataplaneEvent::LaneSilent { lane, peer, at });
                }
                EngineEvent::Runs { peer, verdict } => {
                    let arrive = verdict == Verdict::Restored;
                    self.tell(DataplaneEvent::Runs { peer, arrive });
                }
                EngineEvent::CheckChanged {
                    owner,
                    target,
                    verdict,
                } => self.tell(DataplaneEvent::CheckChanged {
                    owner,
                    target,
                    verdict,
                }),
                EngineEvent::CheckReported { peer, target, passes } => {
                    self.tell(DataplaneEvent::CheckReported { peer, target, passes });
                }
                EngineEvent::LocalStall { late } => self.tell(DataplaneEvent::LocalStall { late }),
            }
        }
    }

    /// The TUN interface was deleted: every lane sees it, lane 0 says it.
    pub(super) fn tell_tun_gone(&self) {
        if self.link.is_first() {
            self.tell(DataplaneEvent::TunGone);
        }
    }

    fn tell(&self, event: DataplaneEvent) {
        if let Err(error) = self.events.try_send(event) {
            tracing::debug!(%error, "an event found no reader");
        }
    }
}
