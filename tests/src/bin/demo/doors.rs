//! A way into each machine of the demo: one small script per machine that runs a command there.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use meshnode_tests::topology::ThreeVpcs;
use meshnode_tests::{Host, node};

/// The scripts; they are removed with this.
pub(crate) struct Doors {
    directory: PathBuf,
}

impl Doors {
    /// Writes a script for each machine of the world to `<target>/demo/`.
    pub(crate) fn open(vpcs: &ThreeVpcs<'_>) -> Result<Doors> {
        let binary = node::binary()?;
        let built = binary.parent().context("the binary stands in no directory")?;
        let directory = directory()?;
        fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
        let doors = Doors { directory };
        let inside = vpcs.vpcs.iter().flat_map(|vpc| [&vpc.gateway, &vpc.host]);
        for host in inside.chain([&vpcs.internet]) {
            doors.script(host, built)?;
        }
        Ok(doors)
    }

    /// Removes the scripts of whoever made them: signals end the process without dropping anything.
    pub(crate) fn close() {
        let _never_opened = directory().map(fs::remove_dir_all);
    }

    /// How to read the metrics page of a gateway on a machine that may have no HTTP client.
    pub(crate) fn metrics_command(&self, gateway: &str) -> String {
        format!("{} demo --fetch 127.0.0.1:9586 /metrics", self.shown(gateway))
    }

    /// What a curious person types next.
    pub(crate) fn invite_to_try(&self) {
        println!("\n The mesh stays up until you press Enter. In another terminal:\n");
        for (machine, command) in [
            ("sz", "meshnode peers"),
            ("sz", "meshnode routes"),
            ("hk", "meshnode ping gz"),
            ("sz-host", "ping -c 3 172.20.0.13"),
            ("gz-host", "ping -c 3 fd00:172:18::b"),
            ("sz", "wg show mesh0"),
            ("sz", "ip route show proto 77"),
            ("internet", "tcpdump -ni any -c 10"),
            ("sz", "demo --fetch 127.0.0.1:9586 /metrics"),
            ("sz", "bash"),
        ] {
            println!("   {} {command}", self.shown(machine));
        }
        println!("\n   machines: sz sz-host hk hk-host gz gz-host internet");
        print!("\n Enter ends the demo. ");
        let _unflushed = std::io::stdout().flush();
    }

    fn script(&self, host: &Host, built: &Path) -> Result<()> {
        let path = self.directory.join(host.name());
        let enter = format!("nsenter --net --mount --wd=/ --target {}", host.holder_id());
        let text = format!(
            "#!/bin/sh\nPATH=\"{}:$PATH\"\nexport PATH\nexec {enter} -- \"$@\"\n",
            built.display()
        );
        let _from_a_killed_demo = fs::remove_file(&path);
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o755)
            .open(&path)?;
        file.write_all(text.as_bytes())
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Relative to where the user stands, if it lies below.
    fn shown(&self, machine: &str) -> String {
        let path = self.directory.join(machine);
        let here = std::env::current_dir().unwrap_or_default();
        path.strip_prefix(here).unwrap_or(&path).display().to_string()
    }
}

impl Drop for Doors {
    fn drop(&mut self) {
        Doors::close();
    }
}

/// Beside the directory of the binaries.
fn directory() -> Result<PathBuf> {
    let binary = node::binary()?;
    let target = binary
        .ancestors()
        .nth(2)
        .context("the binary stands in no directory")?;
    Ok(target.join("demo"))
}
