//! Contenders that registries carry: built or found once, each in a directory with its version in the name.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::step;

/// A program that crates.io carries.
pub(crate) struct Crate {
    name: &'static str,
    version: &'static str,
    program: &'static str,
}

pub(crate) const BORINGTUN: Crate = Crate {
    name: "boringtun-cli",
    version: "0.7.1",
    program: "boringtun-cli",
};

pub(crate) const GOTATUN: Crate = Crate {
    name: "gotatun-cli",
    version: "0.10.2",
    program: "gotatun",
};

impl Crate {
    /// Where it is, after building it if need be.
    pub(crate) fn program(&self) -> Result<PathBuf> {
        let all = directory()?;
        let root = all.join(format!("{}-{}", self.name, self.version));
        let program = root.join("bin").join(self.program);
        if !program.is_file() {
            step(&format!(
                "installing {} {} (once, some minutes)",
                self.name, self.version
            ));
            let status = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()))
                .args([
                    "install",
                    self.name,
                    "--version",
                    self.version,
                    "--locked",
                    "--quiet",
                ])
                .arg("--root")
                .arg(&root)
                .arg("--target-dir")
                .arg(all.join("build"))
                .status()
                .context("cannot start cargo")?;
            ensure!(status.success(), "cargo install {} failed ({status})", self.name);
        }
        Ok(program)
    }
}

/// A program from a Debian package; `cargo xtask bench` installs the package.
pub(crate) fn debian(name: &str) -> Result<PathBuf> {
    let path = PathBuf::from("/usr/bin").join(name);
    ensure!(path.is_file(), "install the Debian package {name}");
    Ok(path)
}

/// `<target>/contenders`; this program stands in `<target>/<profile>`.
fn directory() -> Result<PathBuf> {
    let here = std::env::current_exe()?;
    let target = here.ancestors().nth(2).context("this program has no directory")?;
    Ok(target.join("contenders"))
}
