//! One node alone, the real binary in a network namespace of its own: what it leaves on the host, what
//! its sockets answer, and how it ends. Needs root and /dev/net/tun; without, it says so and passes.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long a node may take for anything; a bound for broken ones, not a measure.
const PATIENCE: Duration = Duration::from_secs(20);

struct Host {
    dir: TempDir,
}

struct Running {
    child: Child,
}

/// Runs `test` on a thread with a network namespace of its own; what it starts is in there too.
fn alone(test: fn(&Host)) {
    let thread = std::thread::spawn(move || {
        if !nix::unistd::geteuid().is_root() || !std::path::Path::new("/dev/net/tun").exists() {
            eprintln!("skipped: needs root and /dev/net/tun");
            return;
        }
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        let host = Host {
            dir: tempfile::tempdir().unwrap(),
        };
        host.ip("link set lo up");
        fs::write(host.path("meshnode.toml"), "").unwrap();
        assert!(
            host.meshnode("init --cidr 10.1.0.0/16 --name first")
                .status
                .success()
        );
        test(&host);
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

impl Host {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, args: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_meshnode"));
        command
            .env_clear()
            .env("MESHNODE_STATE_DIR", self.path("state"))
            .env("MESHNODE_SOCKET", self.path("socket"))
            .env("MESHNODE_CONFIG", self.path("meshnode.toml"))
            .env("MESHNODE_UAPI_DIR", self.path("wireguard"))
            .args(args.split_whitespace())
            .stdin(Stdio::null());
        command
    }

    fn meshnode(&self, args: &str) -> Output {
        self.command(args).output().unwrap()
    }

    fn up(&self, args: &str) -> Running {
        let child = self
            .command(&format!("up {args}"))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let running = Running { child };
        self.until("it answers", || self.meshnode("status").status.success());
        running
    }

    fn until(&self, what: &str, mut good: impl FnMut() -> bool) {
        let start = Instant::now();
        while !good() {
            assert!(start.elapsed() < PATIENCE, "never came true: {what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn ip(&self, args: &str) -> String {
        let output = Command::new("ip").args(args.split_whitespace()).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    fn get(&self, path: &str) -> String {
        let mut stream = std::net::TcpStream::connect("127.0.0.1:9586").unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Running {
    fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(self.child.id().try_into().unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
    }

    /// Exit code and everything that it said.
    fn end(mut self) -> (i32, String) {
        let mut said = String::new();
        self.child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut said)
            .unwrap();
        (self.child.wait().unwrap().code().unwrap(), said)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already where the test went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[test]
fn a_node_answers_on_all_its_sockets_and_leaves_only_guards() {
    alone(|host| {
        let node = host.up("");
        assert!(host.get("/healthz").starts_with("HTTP/1.0 200"));
        assert!(host.get("/readyz").contains("ready"));
        assert!(host.get("/metrics").contains("meshnode_build_info{"));
        let mut uapi = UnixStream::connect(host.path("wireguard/mesh0.sock")).unwrap();
        uapi.write_all(b"get=1\n\n").unwrap();
        let mut answer = [0; 256];
        let length = uapi.read(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
        assert!(
            answer.contains("listen_port=51820") && answer.ends_with("errno=0\n\n"),
            "{answer}"
        );
        assert!(host.ip("rule").contains("fwmark 0x6d77 lookup 51777"));
        node.signal(nix::sys::signal::Signal::SIGTERM);
        let (code, said) = node.end();
        assert_eq!(code, 0, "{said}");
        assert!(!said.contains("WARN") && !said.contains("ERROR"), "{said}");
        assert!(!host.ip("link").contains("mesh0"));
        assert!(!host.ip("rule").contains("51777"));
        assert!(
            host.ip("-6 route").contains("unreachable fd"),
            "the guard of the mesh's range stays"
        );
        assert!(!host.path("socket").exists() && !host.path("wireguard/mesh0.sock").exists());
        assert!(text(&host.meshnode("guard clear")).contains("Removed"));
        assert!(!host.ip("-6 route").contains("unreachable"));
    });
}

#[test]
fn prefixes_come_and_go_while_it_runs() {
    alone(|host| {
        let _node = host.up("");
        assert!(host.meshnode("cidr add 10.1.7.0/24").status.success());
        assert!(text(&host.meshnode("status --json")).contains("10.1.7.0/24"));
        assert!(host.meshnode("cidr remove 10.1.7.0/24").status.success());
        assert!(!text(&host.meshnode("status --json")).contains("10.1.7.0/24"));
        assert_eq!(host.meshnode("cidr remove 10.1.7.0/24").status.code(), Some(1));
        fs::write(host.path("meshnode.toml"), "cidr = [\"10.1.8.0/24\"]\n").unwrap();
        assert!(host.meshnode("reload").status.success());
        assert!(text(&host.meshnode("status --json")).contains("10.1.8.0/24"));
        let refused = host.meshnode("cidr remove 10.1.8.0/24");
        assert!(text(&refused).contains("meshnode.toml:1"), "{}", text(&refused));
    });
}

#[test]
fn bad_file_at_reload_keeps_the_last_good_settings() {
    alone(|host| {
        let node = host.up("");
        fs::write(host.path("meshnode.toml"), "acept = []\n").unwrap();
        let refused = host.meshnode("reload");
        assert_eq!(refused.status.code(), Some(2), "{}", text(&refused));
        assert!(
            text(&refused).contains("did you mean `accept`"),
            "{}",
            text(&refused)
        );
        node.signal(nix::sys::signal::Signal::SIGHUP);
        fs::write(host.path("meshnode.toml"), "").unwrap();
        assert!(host.meshnode("reload").status.success());
        assert!(host.meshnode("status").status.success());
    });
}

#[test]
fn clients_are_kept_and_forgotten_with_their_keys() {
    alone(|host| {
        let _node = host.up("--advertise 203.0.113.7");
        let added = text(&host.meshnode("client add phone"));
        assert!(added.contains("Endpoint = 203.0.113.7:51820"), "{added}");
        assert!(
            added.contains("AllowedIPs = ") && added.contains("10.1.0.0/16"),
            "{added}"
        );
        assert!(host.ip("route").contains("100.96.0.0/24 dev mesh0"));
        let again = host.meshnode("client add phone");
        assert_eq!(again.status.code(), Some(1), "{}", text(&again));
        let shown = String::from_utf8(host.meshnode("client show phone").stdout).unwrap();
        assert!(added.contains(shown.trim()), "the same configuration again");
        assert!(host.path("state/clients/phone.key").exists());
        assert!(host.meshnode("client remove phone").status.success());
        assert!(!host.path("state/clients/phone.key").exists());
        assert!(!host.ip("route").contains("100.96.0.0/24 dev mesh0"));
        assert_eq!(host.meshnode("client show phone").status.code(), Some(1));
    });
}

#[test]
fn deleted_interface_ends_the_node_with_the_reason() {
    alone(|host| {
        let node = host.up("");
        host.ip("link del mesh0");
        let (code, said) = node.end();
        assert_eq!(code, 1);
        assert!(said.contains("deleted by somebody else"), "{said}");
    });
}

#[test]
fn killed_node_comes_back_and_adopts_what_it_left() {
    alone(|host| {
        let node = host.up("");
        node.signal(nix::sys::signal::Signal::SIGKILL);
        drop(node);
        assert!(host.ip("-6 route").contains("unreachable fd"));
        let node = host.up("");
        assert_eq!(host.ip("rule").matches("51777").count(), 1);
        node.signal(nix::sys::signal::Signal::SIGTERM);
        assert_eq!(node.end().0, 0);
    });
}

#[test]
fn leaving_takes_everything_but_the_authority_key() {
    alone(|host| {
        let node = host.up("");
        let left = host.meshnode("leave");
        assert!(left.status.success(), "{}", text(&left));
        assert_eq!(node.end().0, 0);
        assert!(!host.ip("-6 route").contains("unreachable"));
        assert!(!host.path("state/node.key").exists() && host.path("state/authority.key").exists());
    });
}

#[test]
fn second_node_is_refused_by_what_the_first_one_has() {
    alone(|host| {
        let _node = host.up("");
        let other = Host {
            dir: tempfile::tempdir().unwrap(),
        };
        fs::write(other.path("meshnode.toml"), "").unwrap();
        assert!(
            other
                .meshnode("init --cidr 10.2.0.0/16 --name second")
                .status
                .success()
        );
        for (args, named) in [
            ("up", "9586"),
            ("up --metrics none", "port 51820/udp is in use by meshnode"),
            (
                "up --metrics none --listen 51999",
                "interface mesh0 is in use by meshnode",
            ),
        ] {
            let refused = other.meshnode(args);
            assert_eq!(refused.status.code(), Some(1));
            assert!(text(&refused).contains(named), "{args}: {}", text(&refused));
            assert!(
                !other.path("socket").exists(),
                "a start that fails leaves no socket"
            );
        }
        assert!(host.ip("rule").contains("51777"));
    });
}
