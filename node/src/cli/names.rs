//! Which node a person means: a shown name, the beginning of an id, or a mesh address.

use crate::api::types::Peers;
use crate::output::Failure;

/// The fewest digits of an id that are taken for one.
const MIN_DIGITS: usize = 4;

/// A node that a command can act on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Shown name.
    pub name: String,
    /// 64 hex digits.
    pub id: String,
}

/// The one known node that `wanted` means. Several are refused with their ids.
pub fn resolve(peers: &Peers, wanted: &str) -> Result<Node, Failure> {
    let nodes = known(peers);
    let text = wanted.to_lowercase();
    let named: Vec<_> = nodes.iter().filter(|(node, _)| is_named(node, &text)).collect();
    let matching: Vec<&Node> = match named.is_empty() {
        false => named.into_iter().map(|(node, _)| node).collect(),
        true => nodes
            .iter()
            .filter(|(node, address)| is_prefix_of_id(node, &text) || *address == text)
            .map(|(node, _)| node)
            .collect(),
    };
    match matching.as_slice() {
        [] => Err(Failure::new(format!("no node is called `{wanted}`"))
            .because(format!(
                "known are {}",
                listed(nodes.iter().map(|(node, _)| node))
            ))
            .fix("use a name from `meshnode peers`, or the first 4 or more digits of an id")),
        [only] => Ok((*only).clone()),
        several => Err(Failure::new(format!("`{wanted}` means {} nodes", several.len()))
            .because(
                several
                    .iter()
                    .map(|node| format!("{}  {}", node.id, node.name))
                    .collect::<Vec<_>>()
                    .join("\n"),
            )
            .fix("use enough digits of the id to mean one")),
    }
}

/// Like [`resolve`], and a whole id is taken as it is: it may be of a node that is not seen now.
pub fn resolve_or_id(peers: &Peers, wanted: &str) -> Result<Node, Failure> {
    let is_id = wanted.len() == 64 && wanted.bytes().all(|byte| byte.is_ascii_hexdigit());
    match resolve(peers, wanted) {
        Err(_) if is_id => {
            let id = wanted.to_lowercase();
            Ok(Node {
                name: id[..8].to_owned(),
                id,
            })
        }
        other => other,
    }
}

fn known(peers: &Peers) -> Vec<(Node, String)> {
    let others = peers.peers.iter().map(|peer| {
        (
            Node {
                name: peer.name.clone(),
                id: peer.id.clone(),
            },
            peer.mesh_ip.to_string(),
        )
    });
    let own = (
        Node {
            name: peers.node.clone(),
            id: peers.id.clone(),
        },
        String::new(),
    );
    others.chain([own]).collect()
}

/// Its shown name, or the name before the digits that a duplicate is shown with.
fn is_named(node: &Node, text: &str) -> bool {
    let digits = node.id.get(..4).unwrap_or_default();
    node.name == text
        || node
            .name
            .strip_suffix(digits)
            .and_then(|rest| rest.strip_suffix('-'))
            .is_some_and(|name| name == text)
}

fn is_prefix_of_id(node: &Node, text: &str) -> bool {
    text.len() >= MIN_DIGITS && node.id.starts_with(text)
}

fn listed<'a>(nodes: impl Iterator<Item = &'a Node>) -> String {
    const SHOWN: usize = 12;
    let names: Vec<&str> = nodes.map(|node| node.name.as_str()).collect();
    match names.len() {
        0 => "none".to_owned(),
        count if count > SHOWN => format!("{} and {} more", names[..SHOWN].join(", "), count - SHOWN),
        _ => names.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::types::{PeerState, PeerStatus};

    fn peer(name: &str, id: &str) -> PeerStatus {
        PeerStatus {
            name: name.to_owned(),
            id: format!("{id:0<64}"),
            state: PeerState::Up,
            endpoint: None,
            path: "direct".to_owned(),
            health: "up".to_owned(),
            health_cause: None,
            health_s: None,
            mesh_ip: "fd00::1".parse().unwrap(),
            cidrs: Vec::new(),
            rtt_ms: None,
            jitter_ms: None,
            loss: None,
            loss_out: None,
            loss_in: None,
            loss_1m: None,
            loss_5m: None,
            variation_out_ms: None,
            variation_in_ms: None,
            mtu: None,
            last_handshake_s: None,
            tx_bytes: 0,
            rx_bytes: 0,
            version: String::new(),
        }
    }

    fn peers() -> Peers {
        let others = vec![
            peer("hk", "abcd1"),
            peer("web-1a2b", "1a2b"),
            peer("web-1a2c", "1a2c"),
            peer("beef", "77"),
        ];
        Peers {
            node: "gz".to_owned(),
            id: format!("{:0<64}", "beef"),
            peers: others,
            rejected: Vec::new(),
        }
    }

    #[test]
    fn a_name_or_the_beginning_of_an_id_means_a_node() {
        assert_eq!(resolve(&peers(), "HK").unwrap().name, "hk");
        assert_eq!(resolve(&peers(), "abcd").unwrap().name, "hk");
        assert_eq!(resolve(&peers(), "gz").unwrap().name, "gz");
        assert_eq!(resolve(&peers(), "web-1a2c").unwrap().name, "web-1a2c");
    }

    #[test]
    fn a_name_wins_over_the_id_of_another() {
        assert!(resolve(&peers(), "beef").unwrap().id.starts_with("77"));
    }

    #[test]
    fn an_ambiguous_name_is_refused_with_the_ids() {
        let text = resolve(&peers(), "web").unwrap_err().to_string();
        assert!(text.starts_with("`web` means 2 nodes"), "{text}");
        assert!(text.contains("1a2b0") && text.contains("1a2c0"), "{text}");
    }

    #[test]
    fn too_few_digits_and_unknown_names_are_refused() {
        assert!(resolve(&peers(), "abc").is_err());
        let text = resolve(&peers(), "nobody").unwrap_err().to_string();
        assert!(
            text.contains("known are hk, web-1a2b, web-1a2c, beef, gz"),
            "{text}"
        );
    }

    #[test]
    fn a_whole_id_needs_no_known_node() {
        let id = "f".repeat(64);
        assert_eq!(resolve_or_id(&peers(), &id).unwrap().id, id);
        assert!(resolve_or_id(&peers(), "ffff").is_err());
    }
}
