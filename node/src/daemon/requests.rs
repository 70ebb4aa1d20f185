//! What the core does for the API.

use std::sync::Arc;

use ipnet::IpNet;
use meshnode_crypto::{Name, PrefixSet, WgPublicKey};
use meshnode_dataplane::table::CLIENT_MTU;

use super::core::Core;
use super::node::wall_now;
use super::{endpoints, keys};
use crate::api::refuse::Refuse;
use crate::api::types::{CidrAnswer, CidrRequest, ClientConfig, GuardAnswer, ReloadAnswer};
use crate::config::Key;
use crate::features::clients::{ClientError, ConfigInput, render};
use crate::state::Announcement;
use crate::state::entries::DEFAULT_PRIORITY;
use crate::state::fresh_seed;

impl Core {
    pub(super) fn change_cidr(&mut self, request: &CidrRequest) -> Result<CidrAnswer, Refuse> {
        let mut announced = self.stored.clone();
        let before = announced.prefixes.clone();
        match request {
            CidrRequest::Add { prefix, priority } => {
                self.check_cidr(prefix)?;
                self.check_priority(prefix, *priority)?;
                let priority = priority.unwrap_or(DEFAULT_PRIORITY);
                announced.prefixes.retain(|a| a.prefix != *prefix);
                announced.prefixes.push(Announcement {
                    prefix: *prefix,
                    priority,
                });
                announced.prefixes.sort_by_key(|a| a.prefix);
            }
            CidrRequest::Remove { prefix } => {
                self.check_removable(prefix, &before)?;
                announced.prefixes.retain(|a| a.prefix != *prefix);
            }
        }
        let changed = announced.prefixes != before;
        if changed {
            self.state.set_announced(&announced).map_err(Refuse::failed)?;
            self.stored = announced;
        }
        let mut cidrs: Vec<IpNet> = self
            .stored
            .prefixes
            .iter()
            .map(|a| a.prefix)
            .chain(self.settings.cidrs.iter().copied())
            .collect();
        cidrs.sort();
        cidrs.dedup();
        Ok(CidrAnswer { changed, cidrs })
    }

    fn check_cidr(&self, prefix: &IpNet) -> Result<(), Refuse> {
        meshnode_crypto::prefix::check(prefix).map_err(Refuse::wrong)?;
        let granted = self.granted_now();
        if PrefixSet::new(&granted).covers(prefix) {
            return Ok(());
        }
        let list: Vec<String> = granted.iter().map(IpNet::to_string).collect();
        let may = if list.is_empty() {
            "nothing".to_owned()
        } else {
            list.join(", ")
        };
        Err(Refuse::conflict(format!(
            "{prefix} is outside this node's grant, which allows {may}"
        ))
        .fix(format!(
            "on a member that may, run `meshnode grant {} --cidr {prefix}`, then add it again",
            self.settings.name
        )))
    }

    /// The file has the last word: what a command says against it would have no effect.
    fn check_priority(&self, prefix: &IpNet, wanted: Option<u16>) -> Result<(), Refuse> {
        let table = self.settings.prefix(prefix);
        match (wanted, table.and_then(|table| table.priority.as_ref())) {
            (Some(wanted), Some((priority, origin))) if wanted != *priority => Err(Refuse::conflict(
                format!("the priority of {prefix} comes from {origin}: {priority}"),
            )
            .fix("change it there, then run `meshnode reload`")),
            _ => Ok(()),
        }
    }

    fn check_removable(&self, prefix: &IpNet, stored: &[Announcement]) -> Result<(), Refuse> {
        if let Some(origin) = self.settings.cidr_origin(prefix) {
            return Err(Refuse::conflict(format!("{prefix} comes from {origin}"))
                .fix("remove it there, then run `meshnode reload` (a flag or variable: restart)"));
        }
        match stored.iter().any(|a| a.prefix == *prefix) {
            true => Ok(()),
            false => Err(Refuse::unknown(format!("{prefix} is not announced here"))),
        }
    }

    fn granted_now(&self) -> Vec<IpNet> {
        let view = self.view.borrow();
        view.own
            .as_ref()
            .map_or_else(|| self.granted.clone(), |own| own.grant_serve.clone())
    }

    pub(super) fn reload(&mut self) -> Result<ReloadAnswer, Refuse> {
        let mut next = self.settings.reload().map_err(|error| {
            tracing::warn!(%error, "the configuration was not reloaded; the last good one stays in force");
            Refuse::wrong(error)
                .fix("correct the file and reload again; until then the last good one stays in force")
        })?;
        let restart_needed = self.settings.restart_needed(&next);
        let applied = [
            (Key::Advertise, self.settings.advertise != next.advertise),
            (Key::Name, self.settings.name != next.name),
            (Key::Cidr, self.settings.cidrs != next.cidrs),
            (Key::Accept, self.settings.accept != next.accept),
        ];
        let prefixes = self.settings.prefixes != next.prefixes;
        let old = &self.settings;
        next.state_dir.clone_from(&old.state_dir);
        next.socket.clone_from(&old.socket);
        next.interface.clone_from(&old.interface);
        next.listen.clone_from(&old.listen);
        next.uapi_dir.clone_from(&old.uapi_dir);
        (next.metrics, next.mtu, next.lanes) = (old.metrics, old.mtu, old.lanes);
        next.offload = old.offload;
        self.settings = Arc::new(next);
        tracing::info!("configuration reloaded");
        Ok(ReloadAnswer {
            applied: applied
                .iter()
                .filter(|(_, changed)| *changed)
                .map(|(key, _)| key.to_string())
                .chain(prefixes.then(|| "prefix".to_owned()))
                .collect(),
            restart_needed: restart_needed.iter().map(Key::to_string).collect(),
        })
    }

    /// Written down first: what an operator was told holds until it is taken back.
    pub(super) fn set_draining(&mut self, draining: bool) -> Result<bool, Refuse> {
        if self.stored.draining == draining {
            return Ok(false);
        }
        let mut announced = self.stored.clone();
        announced.draining = draining;
        self.state.set_announced(&announced).map_err(Refuse::failed)?;
        self.stored = announced;
        Ok(true)
    }

    pub(super) fn add_client(&mut self, name: &Name) -> Result<ClientConfig, Refuse> {
        let secret = fresh_seed().map_err(Refuse::failed)?;
        let key = WgPublicKey::of_private(&secret);
        let node = meshnode_crypto::mesh_address(&self.mesh, &self.me);
        let entry = self
            .features
            .clients
            .add(name, key, node, wall_now())
            .map_err(refuse_client)?;
        let kept = self
            .state
            .set_client_secret(name, &secret)
            .and_then(|()| self.state.set_clients(self.features.clients.entries()));
        if let Err(error) = kept {
            self.features.clients.remove(&entry.name).map_err(refuse_client)?;
            return Err(Refuse::failed(error));
        }
        self.client_config(name)
    }

    pub(super) fn remove_client(&mut self, name: &Name) -> Result<(), Refuse> {
        self.features.clients.remove(name).map_err(refuse_client)?;
        self.state
            .set_clients(self.features.clients.entries())
            .map_err(Refuse::failed)?;
        self.state.forget_client_secret(name).map_err(Refuse::failed)
    }

    /// With the prefixes of this moment: a device that should reach later ones needs it again.
    pub(super) fn client_config(&self, name: &Name) -> Result<ClientConfig, Refuse> {
        let entry = self.features.clients.get(name).map_err(refuse_client)?;
        let secret = self
            .state
            .client_secret(name)
            .map_err(Refuse::failed)?
            .ok_or_else(|| {
                Refuse::conflict(format!("the private key of {name} is not kept here")).fix(format!(
                    "remove the client and add it again: meshnode client remove {name}"
                ))
            })?;
        let composed = self
            .composed
            .as_ref()
            .map(|c| Arc::clone(&c.borrow()))
            .ok_or_else(Refuse::stopping)?;
        let mut allowed = composed.behind();
        allowed.push(IpNet::V4(self.client_range));
        let public = |a: &&std::net::SocketAddr| endpoints::is_public(a.ip());
        let reachable = composed.reachable_at();
        let text = render(&ConfigInput {
            entry,
            private_key: &secret,
            node_key: keys::client_key(&self.state).map_err(Refuse::failed)?,
            endpoint: match composed.settings.advertise.is_empty() {
                true => reachable.iter().find(public).or(reachable.first()).copied(),
                false => composed.endpoints.first().copied(),
            },
            allowed: &allowed,
            mtu: composed.mtu.min(CLIENT_MTU),
        });
        Ok(ClientConfig {
            name: name.to_string(),
            config: text.to_string(),
        })
    }

    pub(super) fn clear_guards(&mut self) -> GuardAnswer {
        let guarded = self
            .composed
            .as_ref()
            .map(|c| c.borrow().guarded.clone())
            .unwrap_or_default();
        GuardAnswer {
            cleared: self.memory.clear(&guarded),
        }
    }
}

fn refuse_client(error: ClientError) -> Refuse {
    match &error {
        ClientError::Exists(name) => {
            let fix = format!("`meshnode client show {name}` prints its configuration again");
            Refuse::conflict(&error).fix(fix)
        }
        ClientError::Unknown(_) => {
            Refuse::unknown(&error).fix("`meshnode client list` shows those there are")
        }
        ClientError::Full => Refuse::conflict(&error).fix("remove one, or attach the device to another node"),
    }
}
