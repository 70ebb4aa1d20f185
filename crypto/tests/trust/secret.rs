//! Key files on a real disk.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use meshnode_crypto::{SecretError, read_secret, write_secret};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Names in a directory, sorted.
fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_secret_is_read_back_and_only_its_owner_can() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("node.key");
    write_secret(&path, b"first").unwrap();
    assert_eq!(mode(&path), 0o600);
    write_secret(&path, b"second").unwrap();
    assert_eq!(read_secret(&path).unwrap().as_slice(), b"second");
    assert_eq!(names(directory.path()), ["node.key"]);
}

#[test]
fn leftovers_of_a_crash_do_no_harm() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("node.key");
    write_secret(&path, b"old").unwrap();
    let leftover = directory.path().join(".node.key.new");
    fs::write(&leftover, b"half a k").unwrap();
    set_mode(&leftover, 0o644);
    assert_eq!(read_secret(&path).unwrap().as_slice(), b"old");
    write_secret(&path, b"new").unwrap();
    assert_eq!(
        (read_secret(&path).unwrap().as_slice(), mode(&path)),
        (b"new".as_slice(), 0o600)
    );
    assert_eq!(names(directory.path()), ["node.key"]);
}

#[test]
fn a_planted_link_does_not_lead_the_secret_elsewhere() {
    let directory = tempfile::tempdir().unwrap();
    let (path, elsewhere) = (
        directory.path().join("node.key"),
        directory.path().join("elsewhere"),
    );
    fs::write(&elsewhere, b"untouched").unwrap();
    std::os::unix::fs::symlink(&elsewhere, directory.path().join(".node.key.new")).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
    write_secret(&path, b"secret").unwrap();
    assert_eq!(fs::read(&elsewhere).unwrap(), b"untouched");
    assert_eq!(read_secret(&path).unwrap().as_slice(), b"secret");
}

#[test]
fn a_file_that_others_can_read_or_change_is_refused_with_the_cure() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("node.key");
    write_secret(&path, b"secret").unwrap();
    for exposed in [0o644, 0o640, 0o604, 0o620, 0o602, 0o601, 0o777] {
        set_mode(&path, exposed);
        let refusal = read_secret(&path).unwrap_err();
        let told = refusal.to_string();
        assert!(
            matches!(refusal, SecretError::Exposed { mode, .. } if mode == exposed),
            "{told}"
        );
        assert!(
            told.contains(&format!("chmod 600 '{}'", path.display())),
            "{told}"
        );
    }
    for private in [0o600, 0o400] {
        set_mode(&path, private);
        assert!(read_secret(&path).is_ok());
    }
}

#[test]
fn a_missing_file_or_directory_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("none/node.key");
    for refusal in [
        write_secret(&path, b"x").unwrap_err(),
        read_secret(&path).unwrap_err(),
    ] {
        assert!(refusal.to_string().contains("none/"), "{refusal}");
    }
    assert!(matches!(
        read_secret(directory.path()),
        Err(SecretError::NotAFile { .. })
    ));
}

#[test]
fn a_huge_file_is_refused_before_it_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("node.key");
    write_secret(&path, b"").unwrap();
    fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(1 << 40)
        .unwrap();
    assert!(matches!(read_secret(&path), Err(SecretError::TooLarge { .. })));
}
