//! `meshnode init`: a new mesh, and this host as its founder.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use clap::Args;
use ipnet::{IpNet, Ipv4Net};
use meshnode_crypto::{
    DEFAULT_CLIENT_RANGE, Grant, GrantChain, MeshId, Name, Serial, SignedGrant, SigningKey, UnixMillis,
    mesh_address,
};

use crate::config::settings::DEFAULT_STATE_DIR;
use crate::config::{Settings, value};
use crate::output::Failure;
use crate::output::table::dash_if_empty;
use crate::state::{Announced, Announcement, StateDir, fresh_seed};

use super::context::{Context, now};

/// How long the founder's own grant is good. Every chain hangs on it and only the authority's key renews
/// it, which should lie offline: so ten years, where the grants below it have one.
const ROOT_GRANT_LIFE: Duration = Duration::from_secs(10 * 365 * 86_400);

/// A founder's clock may be ahead of those who join a minute later.
const CLOCK_MARGIN: Duration = Duration::from_secs(10 * 60);

/// Options of `init`.
#[derive(Debug, Args)]
pub struct Options {
    /// A prefix behind this node that the mesh shall reach; may be given several times
    #[arg(long, value_name = "PREFIX", env = "MESHNODE_CIDR", hide_env = true, value_delimiter = ',', value_parser = value::prefix)]
    cidr: Vec<IpNet>,
    /// This node's name [default: the host's]
    #[arg(long, value_name = "NAME", env = "MESHNODE_NAME", hide_env = true, value_parser = value::name)]
    name: Option<Name>,
    /// From where stock WireGuard clients get their IPv4 addresses, a /24 a node
    #[arg(long, value_name = "PREFIX", value_parser = value::client_range, default_value_t = DEFAULT_CLIENT_RANGE)]
    client_range: Ipv4Net,
}

impl Options {
    pub fn run(&self, context: &Context<'_>) -> Result<(), Failure> {
        let settings = context.settings()?.with_saved_name(self.name.clone());
        let state = StateDir::create(&settings.state_dir)?;
        let authority = SigningKey::from_seed(*fresh_seed()?);
        let mesh = MeshId::new(authority.public_key());
        let node = state.node_key()?;
        let founder = Founder {
            authority: &authority,
            node: &node,
            client_range: self.client_range,
        };
        let chain = founder.chain(now(), serial()?)?;
        let announced = Announced {
            name: self.name.clone(),
            prefixes: announcements(&self.cidr),
            draining: false,
        };
        state.found(&authority, &chain, &announced)?;
        self.tell(context, &settings, &mesh, &node)
    }

    fn tell(
        &self,
        context: &Context<'_>,
        settings: &Settings,
        mesh: &MeshId,
        node: &SigningKey,
    ) -> Result<(), Failure> {
        let id = node.public_key();
        let cidrs: BTreeSet<IpNet> = self.cidr.iter().chain(&settings.cidrs).copied().collect();
        let serves: Vec<String> = cidrs.iter().map(IpNet::to_string).collect();
        context.console.print(format_args!(
            "A new mesh, with this node as its first.\n\n  mesh     {mesh}\n  node     {}, id {}\n  address  {}\n  serves   {}",
            settings.name,
            id.short(),
            mesh_address(mesh, &id),
            dash_if_empty(serves.join(", ")),
        ))?;
        context.console.hint(next_steps(settings));
        Ok(())
    }
}

/// What to do after `init`, in the order in which one does it.
fn next_steps(settings: &Settings) -> String {
    let port = settings
        .listen
        .first()
        .map_or(value::DEFAULT_PORT, |address| address.port());
    let up = match settings.state_dir == Path::new(DEFAULT_STATE_DIR) {
        true => "meshnode up".to_owned(),
        false => format!("meshnode up --state-dir {}", settings.state_dir.display()),
    };
    let steps = [
        (up.as_str(), "run this node"),
        ("meshnode invite", "print a token for another one"),
        (
            "meshnode join HOST --token TOKEN",
            "there; HOST is an address of this node",
        ),
    ];
    let width = steps
        .iter()
        .map(|(command, _)| command.len())
        .max()
        .unwrap_or_default();
    let lines: String = steps
        .iter()
        .map(|(command, what)| format!("  {command:<width$}   {what}\n"))
        .collect();
    format!(
        "\nNext:\n{lines}\nOthers must reach this host on UDP port {port}.\n\
         The key of the mesh is {}: copy it to a safe place.",
        settings.state_dir.join("authority.key").display(),
    )
}

/// Who makes the first link of every chain.
struct Founder<'a> {
    authority: &'a SigningKey,
    node: &'a SigningKey,
    client_range: Ipv4Net,
}

impl Founder<'_> {
    /// The founder may announce and delegate everything, so that the authority's key is not needed again.
    fn chain(&self, now: UnixMillis, serial: Serial) -> Result<GrantChain, Failure> {
        let everything = vec![
            IpNet::V4(Ipv4Net::default()),
            IpNet::V6(ipnet::Ipv6Net::default()),
        ];
        let grant = Grant {
            issuer: self.authority.public_key(),
            subject: self.node.public_key(),
            serve: everything.clone(),
            delegate: everything,
            name: None,
            not_before: now - CLOCK_MARGIN,
            not_after: now + ROOT_GRANT_LIFE,
            serial,
            client_pool: Some(first_pool(self.client_range)),
            client_range: Some(self.client_range),
            token: None,
        };
        let mesh = MeshId::new(self.authority.public_key());
        let link: SignedGrant = grant
            .sign(self.authority, &mesh)
            .map_err(|error| Failure::new("cannot make the first grant").because(error))?;
        Ok(GrantChain::from(link))
    }
}

fn first_pool(range: Ipv4Net) -> Ipv4Net {
    range
        .subnets(24)
        .ok()
        .and_then(|mut pools| pools.next())
        .unwrap_or_else(|| Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 24))
}

fn announcements(cidrs: &[IpNet]) -> Vec<Announcement> {
    let each_once: BTreeSet<IpNet> = cidrs.iter().copied().collect();
    each_once.into_iter().map(Announcement::usual).collect()
}

fn serial() -> Result<Serial, Failure> {
    let mut serial = [0; 16];
    serial.copy_from_slice(&fresh_seed()?[..16]);
    Ok(Serial(serial))
}
