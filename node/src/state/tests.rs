//! What a state directory refuses, and what survives.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use meshnode_crypto::{Grant, Serial, UnixMillis};
use meshnode_membership::ports::{Store, StoreItem};

use super::*;
use crate::output::Failure;

fn founded(path: &Path) -> StateDir {
    let state = StateDir::create(path).unwrap();
    let authority = SigningKey::from_seed([7; 32]);
    let chain = chain_for(&authority, &state.node_key().unwrap());
    let announced = Announced {
        name: None,
        prefixes: vec![Announcement::usual("10.1.0.0/16".parse().unwrap())],
        draining: false,
    };
    state.found(&authority, &chain, &announced).unwrap();
    state
}

fn chain_for(authority: &SigningKey, node: &SigningKey) -> GrantChain {
    let grant = Grant {
        issuer: authority.public_key(),
        subject: node.public_key(),
        serve: vec!["10.0.0.0/8".parse().unwrap()],
        delegate: Vec::new(),
        name: None,
        not_before: UnixMillis(0),
        not_after: UnixMillis(1),
        serial: Serial([1; 16]),
        client_pool: None,
        client_range: None,
        token: None,
    };
    let mesh = MeshId::new(authority.public_key());
    GrantChain::from(grant.sign(authority, &mesh).unwrap())
}

/// What the user reads.
fn refusal(result: Result<StateDir, StateError>) -> String {
    match result {
        Ok(_) => "opened".to_owned(),
        Err(error) => Failure::from(error).to_string(),
    }
}

#[test]
fn what_was_founded_opens_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("deep/state");
    let key = founded(&path).node_key().unwrap().public_key();
    let state = StateDir::open(&path).unwrap();
    let identity = state.identity().unwrap();
    assert_eq!(identity.key.public_key(), key);
    assert_eq!(
        identity.mesh.authority(),
        &state.authority().unwrap().unwrap().public_key()
    );
    assert_eq!(state.announced().unwrap().prefixes.len(), 1);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    for file in fs::read_dir(&path).unwrap() {
        assert_eq!(
            file.unwrap().metadata().unwrap().permissions().mode() & 0o777,
            0o600
        );
    }
}

#[test]
fn an_empty_directory_says_what_to_run() {
    let dir = tempfile::tempdir().unwrap();
    let text = refusal(StateDir::open(dir.path()));
    assert!(text.starts_with("no node here: "), "{text}");
    assert!(text.contains("fix: run `meshnode init`"), "{text}");
    assert!(refusal(StateDir::open(&dir.path().join("missing"))).starts_with("no node here: "));
}

#[test]
fn a_second_process_is_told_who_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let _first = founded(dir.path());
    let text = refusal(StateDir::open(dir.path()));
    assert!(text.contains("is in use by `meshnode"), "{text}");
    assert!(text.contains(&format!("pid {}", std::process::id())), "{text}");
}

#[test]
fn a_node_is_not_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    drop(founded(dir.path()));
    let text = refusal(StateDir::create(dir.path()));
    assert!(text.starts_with("there is already a node in "), "{text}");
    assert!(text.contains("the founder of a mesh"), "{text}");
}

#[test]
fn every_damaged_file_is_named() {
    for name in [
        "version",
        "node.key",
        "mesh",
        "chain",
        "announced.json",
        "clients.json",
        "owned.json",
    ] {
        let dir = tempfile::tempdir().unwrap();
        drop(founded(dir.path()));
        let file = dir.path().join(name);
        fs::write(&file, b"\xff damaged").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let text = refusal(StateDir::open(dir.path()));
        assert!(
            text.starts_with(&format!("{} is damaged: ", file.display())),
            "{name}: {text}"
        );
        assert!(text.contains("fix: restore "), "{name}: {text}");
    }
}

#[test]
fn every_missing_file_is_named() {
    for name in ["version", "mesh"] {
        let dir = tempfile::tempdir().unwrap();
        drop(founded(dir.path()));
        fs::remove_file(dir.path().join(name)).unwrap();
        let text = refusal(StateDir::open(dir.path()));
        assert!(text.contains("is damaged: it is missing"), "{name}: {text}");
    }
}

#[test]
fn every_cut_of_the_chain_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(founded(dir.path()));
    let file = dir.path().join("chain");
    let whole = fs::read(&file).unwrap();
    for length in 0..whole.len() {
        fs::write(&file, &whole[..length]).unwrap();
        assert!(
            StateDir::open(dir.path()).is_err(),
            "{length} of {} bytes",
            whole.len()
        );
    }
}

#[test]
fn a_later_format_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    drop(founded(dir.path()));
    fs::write(dir.path().join("version"), "2\n").unwrap();
    let text = refusal(StateDir::open(dir.path()));
    assert!(
        text.contains("is of format 2; this program knows format 1"),
        "{text}"
    );
}

#[test]
fn what_others_can_read_is_refused_with_the_chmod_line() {
    for (name, mode, right) in [
        ("", 0o755, "700"),
        ("node.key", 0o640, "600"),
        ("authority.key", 0o604, "600"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        drop(founded(dir.path()));
        let path = if name.is_empty() {
            dir.path().to_owned()
        } else {
            dir.path().join(name)
        };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let text = refusal(StateDir::open(dir.path()));
        assert!(text.contains("can be read by others"), "{text}");
        assert!(
            text.contains(&format!("fix: chmod {right} {}", path.display())),
            "{text}"
        );
    }
}

#[test]
fn files_of_two_nodes_are_not_mixed() {
    let dir = tempfile::tempdir().unwrap();
    drop(founded(dir.path()));
    keys::write(&dir.path().join("node.key"), &SigningKey::from_seed([9; 32])).unwrap();
    let text = refusal(StateDir::open(dir.path()));
    assert!(text.contains("mixes two nodes"), "{text}");
}

#[test]
fn a_chain_of_another_mesh_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let state = founded(dir.path());
    let other = SigningKey::from_seed([8; 32]);
    let foreign = chain_for(&other, &state.node_key().unwrap());
    state.save(&state.file("chain"), &foreign.to_bytes()).unwrap();
    drop(state);
    assert!(refusal(StateDir::open(dir.path())).contains("another mesh"));
}

#[test]
fn an_unfinished_join_keeps_its_key() {
    let dir = tempfile::tempdir().unwrap();
    let first = StateDir::open_or_create(dir.path()).unwrap();
    let key = first.node_key().unwrap().public_key();
    drop(first);
    assert_eq!(StateDir::presence(dir.path()).unwrap(), Presence::Unfinished);
    assert!(refusal(StateDir::open(dir.path())).contains("was not finished"));
    let again = StateDir::open_or_create(dir.path()).unwrap();
    assert_eq!(again.node_key().unwrap().public_key(), key);
}

#[test]
fn leaving_keeps_only_the_authority() {
    let dir = tempfile::tempdir().unwrap();
    let state = founded(dir.path());
    let name: meshnode_crypto::Name = "phone".parse().unwrap();
    state.set_client_secret(&name, &[3; 32]).unwrap();
    assert_eq!(*state.client_secret(&name).unwrap().unwrap(), [3; 32]);
    assert_eq!(state.wipe().unwrap(), Some(dir.path().join("authority.key")));
    drop(state);
    let mut left: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    left.sort();
    assert_eq!(left, ["authority.key", "lock"]);
    assert_eq!(StateDir::presence(dir.path()).unwrap(), Presence::Left);
    assert!(refusal(StateDir::create(dir.path())).contains("authority key of a mesh that was left"));
    assert!(StateDir::open_or_create(dir.path()).unwrap().authority().is_err());
}

#[test]
fn what_membership_keeps_is_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let state = founded(dir.path());
    assert_eq!(state.load(StoreItem::Peers).unwrap(), None);
    Store::save(&state, StoreItem::Peers, b"peers").unwrap();
    drop(state);
    let state = StateDir::open(dir.path()).unwrap();
    assert_eq!(state.load(StoreItem::Peers).unwrap().unwrap(), b"peers");
}

#[test]
fn a_write_that_fails_is_remembered_and_keeps_the_old_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let state = founded(&path);
    Store::save(&state, StoreItem::Counter, b"1").unwrap();
    assert_eq!(state.fault(), None);
    // A directory where the temporary file should be: creating it fails, for root too.
    let blocker = path.join(".counter.new");
    fs::create_dir(&blocker).unwrap();
    assert!(Store::save(&state, StoreItem::Counter, b"2").is_err());
    assert!(state.fault().unwrap().contains("counter"));
    assert_eq!(state.load(StoreItem::Counter).unwrap().unwrap(), b"1");
    fs::remove_dir(&blocker).unwrap();
    Store::save(&state, StoreItem::Counter, b"3").unwrap();
    assert_eq!(state.fault(), None);
}

#[test]
fn a_file_where_the_directory_should_be_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    fs::write(&path, "").unwrap();
    assert!(refusal(StateDir::open_or_create(&path)).contains("it is a file"));
}

#[test]
fn a_directory_of_others_is_neither_taken_nor_closed() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("letters.txt"), "dear").unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let text = refusal(StateDir::create(dir.path()));
    assert!(
        text.contains("holds other things than a node (letters.txt)"),
        "{text}"
    );
    assert_eq!(
        fs::metadata(dir.path()).unwrap().permissions().mode() & 0o777,
        0o755
    );
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn an_empty_directory_that_others_can_read_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(dir.path().join("lost+found")).unwrap();
    drop(founded(dir.path()));
    StateDir::open(dir.path()).unwrap();
}

#[test]
fn damaged_keys_are_not_keys() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node.key");
    for text in ["", "00", &"g".repeat(64), &"0".repeat(63), &"0".repeat(66)] {
        meshnode_crypto::write_secret(&path, text.as_bytes()).unwrap();
        assert!(
            matches!(keys::read(&path), Err(StateError::Corrupt { .. })),
            "{text}"
        );
    }
}
