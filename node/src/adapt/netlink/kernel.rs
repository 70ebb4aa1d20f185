//! The connection to rtnetlink: carries out steps and says which failed and why.

use futures_util::StreamExt;
use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage,
    NetlinkPayload,
};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressHeaderFlags};
use rtnetlink::packet_route::route::RouteMessage;
use rtnetlink::packet_route::rule::{RuleAction, RuleAttribute};
use rtnetlink::{Error, Handle, LinkMessageBuilder, LinkUnspec};

use ipnet::IpNet;

use super::message::{MARK, MARKED_TABLE, PROTOCOL, RULE_PRIORITY};
use super::plan::Step;

/// A step that the kernel refused.
#[derive(Debug, Clone)]
pub struct Refused {
    /// What was tried, as a person would say it.
    pub what: String,
    /// The kernel's error number, positive; 0 when there was none.
    pub errno: i32,
    /// The kernel's words.
    pub why: String,
}

impl Refused {
    /// True when the process lacks CAP_NET_ADMIN.
    pub fn is_permission(&self) -> bool {
        self.errno == rustix::io::Errno::PERM.raw_os_error()
    }
}

/// Carries out `steps` in order; one that fails does not stop the others.
pub async fn carry_out(handle: &Handle, steps: Vec<Step>) -> Vec<Refused> {
    let mut refused = Vec::new();
    for step in steps {
        let what = describe(&step);
        match carry_out_one(handle, step).await {
            Ok(()) => tracing::debug!(step = what, "kernel changed"),
            Err(error) => refused.extend(refusal(what, &error)),
        }
    }
    refused
}

async fn carry_out_one(handle: &Handle, step: Step) -> Result<(), Error> {
    match step {
        Step::AddRoute(m) => new_route(handle, m, NLM_F_CREATE | NLM_F_EXCL).await,
        Step::ReplaceRoute(m) => new_route(handle, m, NLM_F_CREATE | NLM_F_REPLACE).await,
        Step::AppendRoute(m) => new_route(handle, m, NLM_F_CREATE | NLM_F_APPEND).await,
        Step::DeleteRoute(m) => handle.route().del(m).execute().await,
        Step::AddAddress(index, net) => add_address(handle, index, net).await,
        Step::DeleteAddress(index, net) => delete_address(handle, index, net).await,
        Step::SetLink { index, name, mtu, up } => set_link(handle, index, name, mtu, up).await,
        Step::AddRule { v6 } => add_rule(handle, v6).await,
    }
}

async fn new_route(handle: &Handle, message: RouteMessage, flags: u16) -> Result<(), Error> {
    let mut request = NetlinkMessage::from(RouteNetlinkMessage::NewRoute(message));
    request.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
    let mut handle = handle.clone();
    let mut answers = handle.request(request)?;
    while let Some(answer) = answers.next().await {
        if let NetlinkPayload::Error(error) = answer.payload {
            return Err(Error::NetlinkError(error));
        }
    }
    Ok(())
}

async fn add_address(handle: &Handle, index: u32, net: IpNet) -> Result<(), Error> {
    let mut request = handle.address().add(index, net.addr(), net.prefix_len());
    if matches!(net, IpNet::V6(_)) {
        // Nobody else can hold an address derived from our key, and waiting for duplicate
        // detection would leave the first second without a source address.
        let message = request.message_mut();
        message.header.flags |= AddressHeaderFlags::Nodad;
        message
            .attributes
            .push(AddressAttribute::Flags(AddressFlags::Nodad));
    }
    request.execute().await
}

async fn delete_address(handle: &Handle, index: u32, net: IpNet) -> Result<(), Error> {
    let mut request = handle.address().add(index, net.addr(), net.prefix_len());
    let message = request.message_mut().clone();
    handle.address().del(message).execute().await
}

async fn set_link(
    handle: &Handle,
    index: u32,
    name: Option<String>,
    mtu: Option<u32>,
    up: bool,
) -> Result<(), Error> {
    if let Some(name) = name {
        // Older kernels rename only what is down.
        let down = LinkMessageBuilder::<LinkUnspec>::new()
            .index(index)
            .down()
            .name(name)
            .build();
        handle.link().set(down).execute().await?;
    }
    let mut message = LinkMessageBuilder::<LinkUnspec>::new().index(index);
    if let Some(mtu) = mtu {
        message = message.mtu(mtu);
    }
    if up {
        message = message.up();
    }
    handle.link().set(message.build()).execute().await
}

async fn add_rule(handle: &Handle, v6: bool) -> Result<(), Error> {
    handle_rule(handle, v6).execute().await
}

fn handle_rule(handle: &Handle, v6: bool) -> rtnetlink::RuleAddRequest {
    let mut request = handle
        .rule()
        .add()
        .fw_mark(MARK)
        .table_id(MARKED_TABLE)
        .priority(RULE_PRIORITY)
        .action(RuleAction::ToTable);
    let message = request.message_mut();
    message.header.family = super::message::family(v6);
    message.header.table = 0;
    message.attributes.push(RuleAttribute::Protocol(PROTOCOL.into()));
    request
}

/// Deletes our rule of one family, if it is there.
pub async fn delete_rule(handle: &Handle, v6: bool) -> Result<(), Error> {
    let message = handle_rule(handle, v6).message_mut().clone();
    match handle.rule().del(message).execute().await {
        Err(error) if errno(&error) == rustix::io::Errno::NOENT.raw_os_error() => Ok(()),
        other => other,
    }
}

/// `None` for what is as good as done: it was there already, or gone already.
fn refusal(what: String, error: &Error) -> Option<Refused> {
    use rustix::io::Errno;
    let errno = errno(error);
    let settled = [Errno::EXIST, Errno::SRCH]
        .map(Errno::raw_os_error)
        .contains(&errno);
    (!settled).then(|| Refused {
        what,
        errno,
        why: words(error, errno),
    })
}

/// The positive error number of a netlink answer, 0 if it carries none.
pub fn errno(error: &Error) -> i32 {
    match error {
        Error::NetlinkError(message) => message.raw_code().unsigned_abs().try_into().unwrap_or(0),
        _ => 0,
    }
}

fn words(error: &Error, errno: i32) -> String {
    match errno {
        0 => error.to_string(),
        known => std::io::Error::from_raw_os_error(known).to_string(),
    }
}

fn describe(step: &Step) -> String {
    let route = |verb: &str, m: &RouteMessage| match super::message::SeenRoute::read(m.clone()) {
        Some(r) => format!(
            "{verb} route {} table {} metric {} ({:?})",
            r.prefix, r.table, r.metric, r.kind
        ),
        None => format!("{verb} route"),
    };
    match step {
        Step::AddRoute(m) | Step::AppendRoute(m) => route("add", m),
        Step::ReplaceRoute(m) => route("replace", m),
        Step::DeleteRoute(m) => route("delete", m),
        Step::AddAddress(_, net) => format!("add address {net}"),
        Step::DeleteAddress(_, net) => format!("delete address {net}"),
        Step::SetLink { name, mtu, .. } => format!("set link up, name {name:?}, mtu {mtu:?}"),
        Step::AddRule { v6 } => format!("add rule fwmark {MARK:#x} lookup {MARKED_TABLE} (v6: {v6})"),
    }
}
