//! Every fuzz body, over everything that once broke it and a bounded number of mutated valid inputs.
//!
//! The inputs are the same in every run. `MESHNODE_FUZZ_SECONDS` multiplies their number, and
//! `MESHNODE_FUZZ_SEED` starts them elsewhere; `cargo fuzz` in `tests/fuzz` does the same with coverage.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use meshnode_tests::fuzz_bodies::{Mutator, TARGETS, Target};

#[test]
fn bodies_hold_over_valid_inputs_and_all_that_once_broke_them() {
    for target in TARGETS {
        for input in (target.seeds)().into_iter().chain(stored(target, "regressions")) {
            run(target, &input);
        }
    }
}

#[test]
fn bodies_hold_over_mutated_inputs() {
    let (seed, seconds) = (
        setting("MESHNODE_FUZZ_SEED", 1),
        setting("MESHNODE_FUZZ_SECONDS", 1),
    );
    std::thread::scope(|scope| {
        for target in TARGETS {
            scope.spawn(move || fuzz(target, seed, seconds));
        }
    });
}

#[test]
fn mutation_repeats_itself_and_reaches_beyond_its_seeds() {
    let seeds = vec![b"the same input".to_vec()];
    let inputs = |seed| {
        let mut mutator = Mutator::new(seed);
        (0..200).map(|_| mutator.next_input(&seeds)).collect::<Vec<_>>()
    };
    assert_eq!(inputs(1), inputs(1));
    assert_ne!(inputs(1), inputs(2));
    let lengths: std::collections::BTreeSet<usize> = inputs(1).iter().map(Vec::len).collect();
    assert!(lengths.len() > 20 && lengths.contains(&0), "{lengths:?}");
}

#[test]
fn every_target_has_its_cargo_fuzz_program() {
    let manifest = fs::read_to_string(folder().join("Cargo.toml")).unwrap();
    for target in TARGETS {
        let program = folder().join("fuzz_targets").join(format!("{}.rs", target.name));
        let source = fs::read_to_string(&program).unwrap();
        assert!(
            source.contains(&format!("fuzz_bodies::{}(", target.name)),
            "{}",
            program.display()
        );
        assert!(
            manifest.contains(&format!("name = \"{}\"", target.name)),
            "{} in the manifest",
            target.name
        );
    }
}

/// Writes the valid inputs where cargo-fuzz looks for them.
#[test]
#[ignore = "writes into tests/fuzz/corpus; run it before cargo fuzz"]
fn write_corpus() {
    for target in TARGETS {
        let corpus = folder().join("corpus").join(target.name);
        fs::create_dir_all(&corpus).unwrap();
        for (number, input) in (target.seeds)().iter().enumerate() {
            fs::write(corpus.join(format!("valid-{number}")), input).unwrap();
        }
    }
}

fn fuzz(target: &Target, seed: u64, seconds: u64) {
    let seeds = (target.seeds)();
    let mut mutator = Mutator::new(seed);
    for _ in 0..target.per_second * usize::try_from(seconds).unwrap() {
        run(target, &mutator.next_input(&seeds));
    }
}

/// A failure names the file that its input was kept in.
fn run(target: &Target, input: &[u8]) {
    if catch_unwind(|| (target.body)(input)).is_err() {
        let kept = std::env::temp_dir().join(format!("meshnode-fuzz-{}-{}", target.name, std::process::id()));
        let hint = match fs::write(&kept, input) {
            Ok(()) => format!(
                "kept in {}: move it to tests/fuzz/regressions/{}",
                kept.display(),
                target.name
            ),
            Err(error) => format!("not kept ({error}): {input:02x?}"),
        };
        panic!(
            "{} fails on an input of {} bytes, {hint}",
            target.name,
            input.len()
        );
    }
}

fn stored(target: &Target, kind: &str) -> Vec<Vec<u8>> {
    let Ok(entries) = fs::read_dir(folder().join(kind).join(target.name)) else {
        return vec![];
    };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}
