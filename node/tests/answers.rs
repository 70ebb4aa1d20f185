//! The built binary with a node that answers: what goes to stdout, what beside it, and the exit code.
//!
//! The node is a thread here that gives one prepared answer for each path.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;

use tempfile::TempDir;

/// `GET /v1/peers` → status and body.
type Answers = BTreeMap<&'static str, (u16, String)>;

struct Node {
    dir: TempDir,
    requests: mpsc::Receiver<(String, String)>,
}

impl Node {
    fn answering(answers: &[(&'static str, u16, &str)]) -> Node {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("socket")).unwrap();
        let answers: Answers = answers
            .iter()
            .map(|(path, status, body)| (*path, (*status, (*body).to_owned())))
            .collect();
        let (sender, requests) = mpsc::channel();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (path, body) = serve(stream.unwrap(), &answers);
                if sender.send((path, body)).is_err() {
                    return;
                }
            }
        });
        Node { dir, requests }
    }

    fn run(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_meshnode"))
            .env_clear()
            .env("MESHNODE_SOCKET", self.dir.path().join("socket"))
            .args(args)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// The body that was sent to `path`.
    fn received(&self, path: &str) -> serde_json::Value {
        let (_, body) = self.requests.try_iter().find(|(asked, _)| asked == path).unwrap();
        serde_json::from_str(&body).unwrap()
    }
}

fn serve(stream: UnixStream, answers: &Answers) -> (String, String) {
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        match line.trim() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let path = lines[0].rsplit_once(' ').unwrap().0.to_owned();
    let length = lines.iter().find_map(|line| {
        line.to_lowercase()
            .strip_prefix("content-length: ")
            .map(str::to_owned)
    });
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    reader.read_exact(&mut body).unwrap();
    let missing = (404, "{\"error\":\"no such thing\"}".to_owned());
    let (status, answer) = answers.get(path.as_str()).unwrap_or(&missing);
    let mut stream = reader.into_inner();
    write!(
        stream,
        "HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{answer}",
        answer.len()
    )
    .unwrap();
    (path, String::from_utf8(body).unwrap())
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

const ID: &str = "abcd000000000000000000000000000000000000000000000000000000000000";

fn peers() -> String {
    let peer = |name: &str, id: &str| {
        format!(
            r#"{{"name":"{name}","id":"{id}","state":"up","endpoint":"203.0.113.9:51820","path":"direct",
            "mesh_ip":"fd00::1","cidrs":["10.1.0.0/16"],"rtt_ms":12.5,"jitter_ms":0.1,"loss":0.0,"mtu":1420,
            "last_handshake_s":3.5,"tx_bytes":1,"rx_bytes":2}}"#
        )
    };
    let twin = |digits: &str| peer(&format!("twin-{digits}"), &format!("{digits:0<64}"));
    format!(
        r#"{{"node":"me","id":"{}","peers":[{},{},{}],"rejected":[]}}"#,
        "1".repeat(64),
        peer("hk", ID),
        twin("aa11"),
        twin("aa22")
    )
}

#[test]
fn invite_prints_the_token_alone_on_stdout() {
    let answer = r#"{"token":"mesh1_secret","serial":"00ff","seeds":["203.0.113.7:51820"],"expires_ms":0}"#;
    let node = Node::answering(&[("POST /v1/invite", 200, answer)]);
    let said = node.run(&[
        "invite",
        "--uses",
        "0",
        "--ttl",
        "1h30m",
        "--cidr",
        "10.0.0.0/8,fd00::/8",
    ]);
    assert!(said.status.success());
    assert_eq!(text(&said.stdout), "mesh1_secret\n");
    assert!(text(&said.stderr).contains("meshnode join 203.0.113.7:51820"));
    assert!(!text(&said.stderr).contains("mesh1_secret"));
    let request = node.received("POST /v1/invite");
    assert_eq!((&request["uses"], &request["ttl_s"]), (&0.into(), &5400.into()));
    assert_eq!(request["cidrs"][1], "fd00::/8");
}

#[test]
fn json_is_what_the_node_said() {
    let peers = peers();
    let node = Node::answering(&[("GET /v1/peers", 200, &peers)]);
    let said = node.run(&["peers", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&said.stdout).unwrap();
    assert_eq!(json["peers"][0]["rtt_ms"], 12.5);
    assert!(text(&node.run(&["peers"]).stdout).contains("203.0.113.9:51820"));
}

#[test]
fn ping_counts_and_fails_if_nothing_came_back() {
    let peers = peers();
    let good = Node::answering(&[
        ("GET /v1/peers", 200, &peers),
        ("POST /v1/ping", 200, r#"{"rtt_ms":1.5,"error":null}"#),
    ]);
    let said = good.run(&["ping", "hk", "-c", "2", "-i", "0.01"]);
    assert!(said.status.success());
    assert!(text(&said.stdout).contains("hk: probe=2 time=1.500 ms"));
    assert!(text(&said.stdout).contains("2 sent, 2 received, 0 % lost"));
    assert_eq!(good.received("POST /v1/ping")["node"], ID);

    let silent = Node::answering(&[
        ("GET /v1/peers", 200, &peers),
        ("POST /v1/ping", 200, r#"{"rtt_ms":null,"error":null}"#),
    ]);
    let said = silent.run(&["ping", "abcd", "-c", "1"]);
    assert_eq!(said.status.code(), Some(1));
    assert!(text(&said.stdout).contains("1 sent, 0 received, 100 % lost"));
    assert!(text(&said.stderr).contains("nothing came back from hk"));
}

const EVENTS: &str = r#"{"run_ms":1,"last":314,"gone":312,"events":[
    {"number":313,"time_ms":1700000000123,"kind":"path","peer":"hk","to":"down","cause":"silent",
     "text":"nothing comes from it any more"},
    {"number":314,"time_ms":1700000000125,"kind":"route","prefix":"10.99.0.0/16","from":"hk","to":"gz",
     "cause":"suspect","text":"hk does not answer"}]}"#;

#[test]
fn events_are_lines_in_order_and_what_is_gone_is_said_beside_them() {
    let node = Node::answering(&[("GET /v1/events", 200, EVENTS)]);
    let said = node.run(&["events"]);
    let lines: Vec<&str> = text(&said.stdout).lines().collect();
    assert_eq!(
        lines,
        [
            "2023-11-14",
            "22:13:20.123  path      hk            down     nothing comes from it any more",
            "22:13:20.125  route     10.99.0.0/16  hk → gz  hk does not answer",
        ]
    );
    assert_eq!(text(&said.stderr), "… 312 older events are gone\n");
    let said = node.run(&["events", "--limit", "1"]);
    assert!(text(&said.stderr).contains("… 1 older events are not shown: --limit 2 shows them"));
    let said = node.run(&["events", "--peer", "gz", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&said.stdout).unwrap();
    assert_eq!(
        (&json["number"], &json["cause"]),
        (&314.into(), &"suspect".into())
    );
    let said = node.run(&["events", "--since", "1h"]);
    assert!(said.stdout.is_empty() && text(&said.stderr).contains("Nothing of that kind is remembered"));
}

#[test]
fn events_are_followed_across_a_restart_of_the_node() {
    let again = EVENTS
        .replace("\"run_ms\":1", "\"run_ms\":2")
        .replace("\"gone\":312", "\"gone\":0");
    let one = |number: u64, kind: &str| {
        format!(r#"{{"number":{number},"time_ms":1700000001000,"kind":"{kind}","text":""}}"#)
    };
    let fresh = format!(
        r#"{{"run_ms":2,"last":1,"gone":0,"events":[{}]}}"#,
        one(1, "started")
    );
    let node = Node::answering(&[
        ("GET /v1/events", 200, EVENTS),
        ("GET /v1/events?after=314&wait_ms=15000", 200, &again),
        ("GET /v1/events?after=0&wait_ms=15000", 200, &fresh),
        (
            "GET /v1/events?after=1&wait_ms=15000",
            409,
            r#"{"error":"that is enough"}"#,
        ),
    ]);
    let said = node.run(&["events", "--follow"]);
    assert_eq!(said.status.code(), Some(1));
    assert!(text(&said.stderr).contains("that is enough"), "{said:?}");
    assert!(
        text(&said.stdout)
            .trim_end()
            .ends_with("22:13:21.000  started   -"),
        "{said:?}"
    );
    assert_eq!(text(&said.stdout).matches("route").count(), 1);
}

#[test]
fn an_ambiguous_node_is_refused_before_anything_is_done() {
    let peers = peers();
    let node = Node::answering(&[("GET /v1/peers", 200, &peers)]);
    let said = node.run(&["revoke", "twin"]);
    assert_eq!(said.status.code(), Some(1));
    assert!(text(&said.stderr).contains("`twin` means 2 nodes"));
    assert!(text(&said.stderr).contains("aa11") && text(&said.stderr).contains("aa22"));
    assert!(node.requests.try_iter().all(|(path, _)| path == "GET /v1/peers"));
}

#[test]
fn a_refusal_is_said_with_its_fix() {
    let node = Node::answering(&[
        (
            "POST /v1/cidr",
            409,
            r#"{"error":"10.1.0.0/16 is not yours","fix":"ask for a grant"}"#,
        ),
        (
            "POST /v1/reload",
            422,
            r#"{"error":"/etc/m.toml:3: unknown key `x`"}"#,
        ),
        ("POST /v1/leave", 500, "oops"),
    ]);
    let said = node.run(&["cidr", "add", "10.1.0.0/16"]);
    assert_eq!(said.status.code(), Some(1));
    assert_eq!(
        text(&said.stderr),
        "error: 10.1.0.0/16 is not yours\n  fix: ask for a grant\n"
    );
    let said = node.run(&["reload"]);
    assert_eq!(said.status.code(), Some(2));
    assert_eq!(text(&said.stderr), "error: /etc/m.toml:3: unknown key `x`\n");
    assert!(text(&node.run(&["leave"]).stderr).contains("gave no usable answer: 500"));
}

#[test]
fn a_client_configuration_can_go_into_a_file_and_its_code_to_a_camera() {
    let answer = r#"{"name":"phone","config":"[Interface]\nPrivateKey = x\n\n[Peer]\n"}"#;
    let node = Node::answering(&[
        ("POST /v1/clients", 200, answer),
        ("GET /v1/clients/phone/config", 200, answer),
    ]);
    for args in [["client", "add", "phone"], ["client", "show", "phone"]] {
        let said = node.run(&args);
        assert!(said.status.success(), "{said:?}");
        assert_eq!(text(&said.stdout), "[Interface]\nPrivateKey = x\n\n[Peer]\n");
        assert!(text(&said.stderr).contains('█'));
    }
}

#[test]
fn revoking_a_token_names_its_serial() {
    let node = Node::answering(&[("POST /v1/revoke", 200, r#"{"nodes":0}"#)]);
    let said = node.run(&["revoke", "--token", "00ff"]);
    assert_eq!(text(&said.stdout), "token 00ff is revoked.\n");
    assert_eq!(node.received("POST /v1/revoke")["target"]["token"], "00ff");
}

#[test]
fn what_is_no_node_is_told_from_a_node() {
    let node = Node::answering(&[("GET /v1/status", 200, "<html>")]);
    let said = node.run(&["status"]);
    assert_eq!(said.status.code(), Some(1));
    assert!(text(&said.stderr).contains("gave no usable answer"));
}

const EXPLANATION: &str = r#"{"source":"10.1.7.7","destination":"10.9.0.1","arrives":{"from":"host"},"outcome":"forwarded",
    "drop_reason":null,"text":"it goes to hk through sz","fix":null,
    "source_check":{"fine":true,"text":"10.1.7.7 is in this node's prefix 10.1.0.0/16: others accept it from here"},
    "kernel":{"fine":true,"text":"10.9.0.0/16 dev mesh0 proto 77"},"prefix":"10.9.0.0/16",
    "candidates":[{"prefix":"10.9.0.0/16","node":"hk","state":"active","priority":200,"health":"up","rtt_ms":12.4,"reason":null},
      {"prefix":"10.9.0.0/16","node":"gz","state":"standby","priority":100,"health":"up","rtt_ms":3.0,
       "reason":"hk has the higher priority 200"}],
    "gateways":[{"node":"hk","id":"abcd","path":"relay:sz","relay":{"node":"sz","id":"ef01","near_ms":5.0,"far_ms":7.1},
      "endpoint":"203.0.113.9:51820","health":"up","has_session":true,"since_s":62.0,"proven_s":0.25,"rtt_ms":12.4,
      "loss":0.0,"mtu":1411}]}"#;

#[test]
fn explain_tells_the_outcome_first_and_then_what_led_to_it() {
    let node = Node::answering(&[(
        "GET /v1/explain?source=10.1.7.7&destination=10.9.0.1",
        200,
        EXPLANATION,
    )]);
    let said = node.run(&["explain", "10.1.7.7", "10.9.0.1"]);
    let story = text(&said.stdout);
    assert_eq!(
        story.lines().next(),
        Some("10.1.7.7 → 10.9.0.1  goes to hk"),
        "{story}"
    );
    for line in [
        "  kernel    10.9.0.0/16 dev mesh0 proto 77",
        "  path      hk: relay:sz, up for 1m 2s, 12.4 ms, 0 % lost, last answer 0.2 s ago",
        "10.9.0.0/16  gz    standby       100  up    3.00 ms  hk has the higher priority 200",
    ] {
        assert!(
            story.lines().any(|found| found == line),
            "{line} is missing in\n{story}"
        );
    }
    let json: serde_json::Value =
        serde_json::from_slice(&node.run(&["explain", "10.1.7.7", "10.9.0.1", "--json"]).stdout).unwrap();
    assert_eq!(json["gateways"][0]["relay"]["far_ms"], 7.1);
}

#[test]
fn a_dropped_packet_is_told_with_its_reason_and_fix() {
    let answer = r#"{"source":"192.0.2.1","destination":"10.9.0.1","arrives":{"from":"peer","name":"hk"},"outcome":"dropped",
        "drop_reason":"source_not_allowed","text":"that peer may not","fix":"ask for a grant","source_check":null,
        "kernel":null,"prefix":null,"candidates":[],"gateways":[]}"#;
    let node = Node::answering(&[
        (
            "GET /v1/explain?source=192.0.2.1&destination=10.9.0.1&from=hk",
            200,
            answer,
        ),
        ("GET /v1/explain?destination=10.9.0.1", 200, answer),
    ]);
    let said = node.run(&["explain", "192.0.2.1", "10.9.0.1", "--from", "hk"]);
    let story = text(&said.stdout);
    assert!(
        story.starts_with("192.0.2.1 → 10.9.0.1  dropped: source_not_allowed\n"),
        "{story}"
    );
    assert!(
        story.contains("out of the tunnel from hk") && story.contains("fix       ask for a grant"),
        "{story}"
    );
    let said = node.run(&["trace", "10.9.0.1"]);
    assert_eq!(said.status.code(), Some(1));
    assert!(text(&said.stderr).contains("packets to 10.9.0.1 are dropped: source_not_allowed"));
}

#[test]
fn trace_probes_the_relay_and_the_gateway() {
    let node = Node::answering(&[
        ("GET /v1/explain?destination=10.9.0.1", 200, EXPLANATION),
        ("POST /v1/ping", 200, r#"{"rtt_ms":1.5,"error":null}"#),
    ]);
    let said = node.run(&["trace", "10.9.0.1", "-c", "2", "-i", "0.01"]);
    let lines: Vec<&str> = text(&said.stdout).lines().collect();
    assert_eq!(
        lines,
        [
            "to 10.9.0.1 in 10.9.0.0/16, 2 probes a hop, inside the tunnels",
            "   NODE  ROLE     PATH      LOSS     LAST     BEST     MEAN    WORST   MTU",
            "1  sz    relay    direct     0 %  1.50 ms  1.50 ms  1.50 ms  1.50 ms     -",
            "2  hk    gateway  relay:sz   0 %  1.50 ms  1.50 ms  1.50 ms  1.50 ms  1411",
            "sz measures 7.10 ms to hk",
            "10.9.0.1 itself is behind that and was not probed",
        ]
    );
    let asked: Vec<String> = node.requests.try_iter().map(|(_, body)| body).collect();
    assert!(
        asked[1].contains("ef01") && asked[2].contains("abcd"),
        "{asked:?}"
    );

    let silent = Node::answering(&[
        ("GET /v1/explain?destination=10.9.0.1", 200, EXPLANATION),
        (
            "POST /v1/ping",
            200,
            r#"{"rtt_ms":null,"error":"no answer in time"}"#,
        ),
    ]);
    let said = silent.run(&["trace", "10.9.0.1", "-c", "1", "--json"]);
    assert_eq!(said.status.code(), Some(1));
    let json: serde_json::Value = serde_json::from_slice(&said.stdout).unwrap();
    assert_eq!(
        (&json["hops"][1]["sent"], &json["hops"][1]["received"]),
        (&1.into(), &0.into())
    );
    assert!(text(&said.stderr).contains("nothing came back from hk"));
}
