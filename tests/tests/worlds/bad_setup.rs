//! Machines and files that are not as they should be: the error names the thing and the fix.

use anyhow::Result;
use meshnode_tests::topology::{Options, ThreeVpcs};
use meshnode_tests::{Node, in_world};

use crate::AMPLY;

const INIT: [&str; 3] = ["init", "--cidr", "172.18.0.0/16"];

#[test]
fn missing_rights_and_devices_are_named() -> Result<()> {
    in_world(|world| {
        let vpcs = ThreeVpcs::build(world)?;
        let sz = vpcs.vpc("sz")?;
        let node = vpcs.node(sz, &Options::default());
        node.cli(&["status"])?
            .refused(1, &["/run/meshnode.sock", "meshnode up"])?;
        node.cli(&["up"])?.refused(1, &["init", "join"])?;
        node.ok(&INIT)?;
        let program = meshnode_tests::node::binary()?;
        let unprivileged = ["--bounding-set=-net_admin", &program.to_string_lossy(), "up"].map(str::to_owned);
        let mut command = sz.gateway.command("setpriv");
        let said = command.args(unprivileged).output()?;
        let stderr = String::from_utf8_lossy(&said.stderr);
        anyhow::ensure!(
            said.status.code() == Some(1) && stderr.contains("CAP_NET_ADMIN"),
            "{}: {stderr}",
            said.status
        );
        sz.gateway.run("mount", &["-t", "tmpfs", "tmpfs", "/dev/net"])?;
        node.cli(&["up"])?.refused(1, &["/dev/net/tun"])?;
        Ok(())
    })
}

#[test]
fn what_is_in_use_is_named_with_its_holder() -> Result<()> {
    in_world(|world| {
        let vpcs = ThreeVpcs::build(world)?;
        let sz = vpcs.vpc("sz")?;
        let first = vpcs.found(&Options::default())?;
        let id = first.process()?.id().to_string();
        first.cli(&INIT)?.refused(1, &["/var/lib/meshnode"])?;
        first.cli(&["up"])?.refused(1, &["/var/lib/meshnode", &id])?;
        let mut second = Node::new(world, &sz.gateway, "second");
        second.set("STATE_DIR", "/var/lib/second");
        second.set("SOCKET", "/run/second.sock");
        second.set("METRICS", "127.0.0.1:9587");
        second.ok(&INIT)?;
        second.cli(&["up"])?.refused(1, &["51820", &id])?;
        second.set("LISTEN", "0.0.0.0:51999");
        second.cli(&["up"])?.refused(1, &["mesh0"])?;
        first.wait_status("the first one still answers", AMPLY, |_| true)?;
        Ok(())
    })
}

#[test]
fn damaged_state_is_refused_and_left_alone() -> Result<()> {
    in_world(|world| {
        let vpcs = ThreeVpcs::build(world)?;
        let sz = vpcs.vpc("sz")?;
        let node = vpcs.node(sz, &Options::default());
        node.ok(&INIT)?;
        let state = sz.gateway.path("/var/lib/meshnode");
        let key = state.join("node.key");
        sz.gateway.run("chmod", &["0644", "/var/lib/meshnode/node.key"])?;
        node.cli(&["up"])?.refused(1, &["node.key", "chmod"])?;
        sz.gateway.run("chmod", &["0600", "/var/lib/meshnode/node.key"])?;
        let intact = std::fs::read(&key)?;
        std::fs::write(&key, &intact[..intact.len() / 2])?;
        node.cli(&["up"])?.refused(1, &["node.key"])?;
        std::fs::write(&key, &intact)?;
        let version = std::fs::read(state.join("version"))?;
        std::fs::write(state.join("version"), "999\n")?;
        node.cli(&["up"])?.refused(1, &["999"])?;
        std::fs::write(state.join("version"), version)?;
        node.up(&[])?;
        Ok(())
    })
}

#[test]
fn unknown_configuration_key_is_named_with_line_and_nearest() -> Result<()> {
    in_world(|world| {
        let vpcs = ThreeVpcs::build(world)?;
        let sz = vpcs.vpc("sz")?;
        let mut node = vpcs.node(sz, &Options::default());
        node.set("CONFIG", "/run/meshnode.toml");
        std::fs::write(
            sz.gateway.path("/run/meshnode.toml"),
            "name = \"sz\"\nadvertize = [\"198.51.100.10\"]\n",
        )?;
        node.cli(&INIT)?
            .refused(2, &["/run/meshnode.toml:2", "advertize", "advertise"])?;
        Ok(())
    })
}
