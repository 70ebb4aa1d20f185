//! The built binary against bad input: what it says, what it exits with, and that nothing changed.
//!
//! Needs no root and no network.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use meshnode_crypto::{Grant, GrantChain, MeshId, Serial, SigningKey, Token, TokenSpec, UnixMillis};
use tempfile::TempDir;

const DAY: Duration = Duration::from_secs(86_400);

/// A host: its own directory, and no variable of ours.
struct Host {
    dir: TempDir,
}

/// What a command did.
#[derive(Debug)]
struct Outcome {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Host {
    fn new() -> Host {
        Host {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_meshnode"));
        command.env_clear().args(args).stdin(Stdio::null());
        command
            .env("MESHNODE_STATE_DIR", self.path("state"))
            .env("MESHNODE_SOCKET", self.path("socket"));
        command.env("MESHNODE_CONFIG", self.path("meshnode.toml"));
        command
    }

    fn run(&self, args: &[&str]) -> Outcome {
        outcome(&mut self.command(args))
    }

    fn config(&self, text: &str) {
        fs::write(self.path("meshnode.toml"), text).unwrap();
    }

    /// With an empty configuration, so that the named file exists.
    fn ready() -> Host {
        let host = Host::new();
        host.config("");
        host
    }

    fn founder() -> Host {
        let host = Host::ready();
        host.run(&["init", "--cidr", "10.1.0.0/16", "--name", "first"])
            .succeeded();
        host
    }
}

impl Outcome {
    fn succeeded(self) -> Outcome {
        assert_eq!(self.code, 0, "{self:#?}");
        self
    }

    /// Failed with `code`, nothing on stdout, and all of `parts` said.
    fn refused(self, code: i32, parts: &[&str]) -> Outcome {
        assert_eq!(self.code, code, "{self:#?}");
        assert_eq!(self.stdout, "", "{self:#?}");
        assert!(self.stderr.starts_with("error: "), "{self:#?}");
        for part in parts {
            assert!(self.stderr.contains(part), "{part:?} is not in {self:#?}");
        }
        self
    }
}

fn outcome(command: &mut Command) -> Outcome {
    let output = command.output().unwrap();
    Outcome {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A token of a mesh of its own, good until `not_after`.
fn token(not_after: UnixMillis, serve: &[&str]) -> String {
    let (authority, issuer) = (SigningKey::from_seed([1; 32]), SigningKey::from_seed([2; 32]));
    let mesh = MeshId::new(authority.public_key());
    let everything = vec!["0.0.0.0/0".parse().unwrap()];
    let grant = Grant {
        issuer: authority.public_key(),
        subject: issuer.public_key(),
        serve: everything.clone(),
        delegate: everything,
        name: None,
        not_before: UnixMillis(0),
        not_after: UnixMillis(u64::MAX / 2),
        serial: Serial([1; 16]),
        client_pool: None,
        client_range: None,
        token: None,
    };
    let chain = GrantChain::from(grant.sign(&authority, &mesh).unwrap());
    let spec = TokenSpec {
        mesh,
        seeds: Vec::new(),
        serve: serve.iter().map(|prefix| prefix.parse().unwrap()).collect(),
        delegate: Vec::new(),
        name: None,
        uses: 1,
        not_after,
    };
    Token::issue(spec, &issuer, &chain, [3; 32])
        .unwrap()
        .to_text()
        .to_string()
}

fn now() -> UnixMillis {
    UnixMillis::from(std::time::SystemTime::now())
}

fn listing(path: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            (
                entry.file_name().into_string().unwrap(),
                fs::read(entry.path()).unwrap(),
            )
        })
        .filter(|(name, _)| name != "lock")
        .collect();
    files.sort();
    files
}

#[test]
fn init_makes_a_founder_and_says_what_to_do_next() {
    let host = Host::ready();
    let said = host
        .run(&["init", "--cidr", "10.1.0.0/16", "--name", "first"])
        .succeeded();
    assert!(said.stdout.contains("first, id "), "{said:#?}");
    assert!(said.stdout.contains("serves   10.1.0.0/16"), "{said:#?}");
    for next in ["meshnode up", "meshnode invite", "meshnode join"] {
        assert!(said.stderr.contains(next), "{said:#?}");
    }
}

#[test]
fn a_second_init_refuses_and_changes_nothing() {
    let host = Host::founder();
    let before = listing(&host.path("state"));
    host.run(&["init"])
        .refused(1, &["there is already a node in", "fix: "]);
    assert_eq!(listing(&host.path("state")), before);
}

#[test]
fn of_two_inits_at_once_one_wins() {
    let host = Host::ready();
    let mut both: Vec<_> = (0..2)
        .map(|_| host.command(&["init"]).stderr(Stdio::piped()).spawn().unwrap())
        .collect();
    let codes: Vec<_> = both
        .iter_mut()
        .map(|child| child.wait().unwrap().code().unwrap())
        .collect();
    assert_eq!(codes.iter().sum::<i32>(), 1, "{codes:?}");
    host.run(&["init"]).refused(1, &["there is already a node in"]);
}

#[test]
fn a_prefix_with_host_bits_names_the_corrected_one() {
    let host = Host::ready();
    host.run(&["init", "--cidr", "10.1.2.3/16"])
        .refused(2, &["10.1.2.3/16 has host bits: write 10.1.0.0/16"]);
    host.run(&["cidr", "add", "10.1.2.3/16"])
        .refused(2, &["10.1.0.0/16"]);
    host.run(&["init", "--cidr", "10.1.2.3"])
        .refused(2, &["write 10.1.2.3/32"]);
    assert!(!host.path("state").exists());
}

#[test]
fn no_token_says_where_one_comes_from() {
    Host::ready()
        .run(&["join", "203.0.113.7"])
        .refused(2, &["no token", "meshnode invite", "--token-file"]);
}

#[test]
fn a_truncated_token_is_refused_before_anything_is_made() {
    let host = Host::ready();
    let whole = token(now() + DAY, &[]);
    for text in [&whole[..whole.len() / 2], &whole[..whole.len() - 1], "mesh1_"] {
        host.run(&["join", "127.0.0.1", "--token", text])
            .refused(2, &["the token cannot be used", "truncated"]);
    }
    host.run(&["join", "127.0.0.1", "--token", "hello"])
        .refused(2, &["a token begins with mesh1_"]);
    host.run(&["join", "127.0.0.1", "--token", &whole.replace("mesh1_", "mesh9_")])
        .refused(2, &["version 9"]);
    assert!(!host.path("state").exists());
}

#[test]
fn an_expired_token_is_refused_with_its_end() {
    let host = Host::ready();
    let expired = token(UnixMillis(1_000_000_000_000), &[]);
    host.run(&["join", "127.0.0.1", "--token", &expired])
        .refused(1, &["expired at 2001-09-09", "meshnode invite"]);
    assert!(!host.path("state").exists());
}

#[test]
fn a_token_in_a_file_is_read_and_its_trouble_named() {
    let host = Host::ready();
    let file = host.path("token");
    let path = file.to_str().unwrap();
    host.run(&["join", "--token-file", path])
        .refused(2, &["cannot read the token file", path]);
    fs::write(&file, "").unwrap();
    host.run(&["join", "--token-file", path])
        .refused(2, &["is empty"]);
    fs::write(&file, format!("{}\n", token(UnixMillis(1), &[]))).unwrap();
    host.run(&["join", "--token-file", path]).refused(1, &["expired"]);
    host.run(&["join", "--token-file", path, "--token", "x"])
        .refused(2, &["give one of them"]);
    let mut with_variable = host.command(&["join"]);
    outcome(with_variable.env("MESHNODE_TOKEN", "mesh1_")).refused(2, &["truncated"]);
}

#[test]
fn a_token_that_does_not_allow_the_prefix_is_not_sent() {
    let host = Host::ready();
    let narrow = token(now() + DAY, &["10.7.0.0/16"]);
    host.run(&["join", "127.0.0.1", "--token", &narrow, "--cidr", "10.8.0.0/16"])
        .refused(
            1,
            &["the token does not allow 10.8.0.0/16", "it allows 10.7.0.0/16"],
        );
    assert!(!host.path("state").exists());
}

#[test]
fn a_token_without_seeds_needs_one() {
    let text = token(now() + DAY, &["10.7.0.0/16"]);
    Host::ready()
        .run(&["join", "--token", &text])
        .refused(2, &["no seed to knock at"]);
}

#[test]
fn a_token_given_as_a_seed_is_noticed() {
    let text = token(now() + DAY, &[]);
    Host::ready()
        .run(&["join", &text])
        .refused(2, &["that is a token: give it with --token"]);
}

#[test]
fn an_unknown_key_names_file_line_and_nearest_key() {
    let host = Host::ready();
    host.config("name = \"gz\"\nlisen = 51820\n");
    let file = host.path("meshnode.toml");
    let expected = format!(
        "{}:2: unknown key `lisen`; did you mean `listen`?",
        file.display()
    );
    host.run(&["up"]).refused(2, &[&expected]);
    host.run(&["init"]).refused(2, &[&expected]);
    assert!(!host.path("state").exists());
}

#[test]
fn wrong_values_in_the_file_name_their_line() {
    let host = Host::ready();
    for (text, part) in [
        ("mtu = nan", ":1: `mtu`: "),
        ("mtu = \"big\"", "1280 to 65535"),
        (
            "cidr = [\n'10.0.0.0/8',\n'10.1.1.1/8']",
            ":3: `cidr`: 10.1.1.1/8 has host bits: write 10.0.0.0/8",
        ),
        ("lanes = 99", "write 1 to 8"),
        ("name = [", ":1: "),
    ] {
        host.config(text);
        host.run(&["up"]).refused(2, &[part]);
    }
}

#[test]
fn a_configuration_that_was_named_must_exist_and_be_one() {
    let host = Host::new();
    host.run(&["up"])
        .refused(2, &["cannot read the configuration", "meshnode.toml"]);
    let huge = fs::File::create(host.path("meshnode.toml")).unwrap();
    huge.set_len(100 << 20).unwrap();
    host.run(&["up"]).refused(2, &["is larger than"]);
}

#[test]
fn nodes_need_state_and_say_how_to_get_it() {
    let host = Host::ready();
    host.run(&["up"])
        .refused(1, &["no node here", "meshnode init", "meshnode join"]);
    fs::create_dir(host.path("state")).unwrap();
    host.run(&["up"]).refused(1, &["no node here"]);
}

#[test]
fn damaged_newer_and_open_state_is_refused_and_left_as_it_is() {
    let host = Host::founder();
    let state = host.path("state");
    let version = state.join("version");
    fs::write(&version, "2").unwrap();
    host.run(&["up"]).refused(
        1,
        &["is of format 2", "fix: run the meshnode version that wrote it"],
    );
    fs::write(&version, "1").unwrap();

    let key = state.join("node.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    host.run(&["up"])
        .refused(1, &[&format!("fix: chmod 600 {}", key.display())]);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(&state, fs::Permissions::from_mode(0o755)).unwrap();
    host.run(&["up"])
        .refused(1, &[&format!("fix: chmod 700 {}", state.display())]);
    fs::set_permissions(&state, fs::Permissions::from_mode(0o700)).unwrap();

    let chain = state.join("chain");
    let before = listing(&state);
    fs::write(&chain, "rubbish").unwrap();
    host.run(&["up"])
        .refused(1, &[&format!("{} is damaged", chain.display()), "restore"]);
    assert_eq!(fs::read(&chain).unwrap(), b"rubbish");
    let others = |files: Vec<(String, Vec<u8>)>| -> Vec<_> {
        files.into_iter().filter(|(name, _)| name != "chain").collect()
    };
    assert_eq!(others(listing(&state)), others(before));
}

#[test]
fn a_state_directory_in_use_names_its_user() {
    let host = Host::founder();
    let lock = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(host.path("state/lock"))
        .unwrap();
    lock.try_lock().unwrap();
    fs::write(host.path("state/lock"), std::process::id().to_string()).unwrap();
    host.run(&["up"]).refused(
        1,
        &[
            "is in use by",
            &format!("pid {}", std::process::id()),
            "--state-dir",
        ],
    );
}

#[test]
fn commands_without_a_running_node_say_so() {
    let host = Host::ready();
    for args in [
        &["status"] as &[&str],
        &["status", "--json"],
        &["peers"],
        &["routes", "--watch"],
        &["ping", "hk"],
        &["invite"],
        &["cidr", "add", "10.0.0.0/8"],
        &["reload"],
        &["grant", "hk", "--cidr", "10.0.0.0/8"],
        &["revoke", "hk"],
        &["client", "list"],
        &["client", "add", "phone"],
        &["leave"],
    ] {
        host.run(args)
            .refused(1, &["no node answers on", "is `meshnode up` running?", "fix: "]);
    }
}

#[test]
fn a_socket_that_nobody_serves_is_told_from_a_missing_one() {
    let host = Host::ready();
    drop(std::os::unix::net::UnixListener::bind(host.path("socket")).unwrap());
    host.run(&["status"])
        .refused(1, &["no node answers on", "no process listens on it"]);
}

#[test]
fn a_mistake_in_the_command_line_is_exit_2() {
    let host = Host::ready();
    for args in [
        &["stat"] as &[&str],
        &["ping"],
        &["ping", "hk", "-c", "0"],
        &["ping", "hk", "-i", "nan"],
        &["invite", "--ttl", "5 apples"],
        &["invite", "--delegate", "10.0.0.0/8"],
        &["revoke"],
        &["revoke", "hk", "--token", "00"],
        &["up", "--mtu", "100"],
        &["up", "--listen", "nowhere"],
        &["up", "--advertise", "0.0.0.0"],
        &["up", "--interface", "a/b"],
        &["client", "add", "my phone"],
        &["init", "--client-range", "10.0.0.0/30"],
        &["join", "http://gw"],
    ] {
        host.run(args).refused(2, &[]);
    }
}

#[test]
fn version_and_help_and_completions_go_to_stdout() {
    let host = Host::new();
    let version = host.run(&["version"]).succeeded();
    assert_eq!(
        version.stdout,
        format!("meshnode {}\n", env!("CARGO_PKG_VERSION"))
    );
    assert!(
        host.run(&["--help"])
            .succeeded()
            .stdout
            .contains("Common options")
    );
    for shell in ["bash", "zsh", "fish"] {
        assert!(
            host.run(&["completions", shell])
                .succeeded()
                .stdout
                .contains("meshnode")
        );
    }
    host.run(&["completions", "powershel"]).refused(2, &[]);
}
