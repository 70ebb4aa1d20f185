//! What anybody may write into a WireGuard control socket.

use std::time::Duration;

use meshnode_dataplane::Stats;
use meshnode_dataplane::uapi::{DeviceConfig, UapiError, parse_request, parse_set, render_get};

/// Keys of an answer that are no settings.
const MEASURED: [&str; 5] = [
    "last_handshake_time_sec",
    "last_handshake_time_nsec",
    "tx_bytes",
    "rx_bytes",
    "errno",
];

/// Any bytes as a request. What a device became of it, it says in words that make another device the same.
pub fn uapi(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let _any_answer_will_do = parse_request(&text);
    let Ok(device) = made(&text) else { return };
    let shown = show(&device);
    let settings: Vec<&str> = shown
        .lines()
        .filter(|line| {
            line.split_once('=')
                .is_some_and(|(key, _)| !MEASURED.contains(&key))
        })
        .collect();
    let again = made(&format!("set=1\n{}\n", settings.join("\n"))).expect("what was shown can be set");
    assert_eq!(show(&again), shown);
    let compiled = device.table().compile();
    assert_eq!(compiled.peers().len(), shown.matches("public_key=").count());
}

fn made(text: &str) -> Result<DeviceConfig, UapiError> {
    DeviceConfig::default().after(parse_set(text, &|name| name.len().try_into().ok())?)
}

fn show(device: &DeviceConfig) -> String {
    render_get(&device.view(&Stats::default(), Duration::ZERO))
}

/// A whole device, and one line of each kind.
pub(super) fn seeds() -> Vec<Vec<u8>> {
    let (own, other) = ("5a".repeat(32), "c3".repeat(32));
    let device = format!("set=1\nprivate_key={own}\nlisten_port=51820\nfwmark=28023\nreplace_peers=true\n");
    let peer = format!(
        "public_key={other}\npreshared_key={own}\nendpoint=192.0.2.1:51820\npersistent_keepalive_interval=25\n\
         replace_allowed_ips=true\nallowed_ip=10.0.0.0/8\nallowed_ip=fd00::1/128\nprotocol_version=1\n"
    );
    let scoped = format!("set=1\npublic_key={other}\nendpoint=[fe80::1%eth0]:7\nallowed_ip=-10.0.0.0/8\n");
    [
        "get=1\n\n".to_owned(),
        format!("{device}{peer}public_key={own}\nremove=true\n\n"),
        format!("{device}{peer}{peer}\n"),
        scoped,
    ]
    .map(String::into_bytes)
    .into()
}
