//! The TUN interface, each test in a network namespace of its own. Needs root; without it these tests
//! say so and pass, for a machine that may not make namespaces cannot run them.

use std::net::{SocketAddr, UdpSocket};
use std::process::Command;

use crate::node::{self, MARK, PATIENCE, in_namespace, ip, mesh0, wait_for};
use meshnode_dataplane::{
    Dataplane, DataplaneConfig, DataplaneEvent, DropReason, Offloads, StartError, TunConfig, TunError,
};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};

fn started() -> Dataplane {
    node::started("127.0.0.1:0", MARK)
}

fn link() -> String {
    let output = Command::new("ip")
        .args(["-o", "link", "show", "mesh0"])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn interface_comes_up_with_its_mtu_and_goes_when_detached() {
    in_namespace(async || {
        let dataplane = started();
        let info = dataplane.attach_tun(mesh0()).unwrap();
        let shown = link();
        assert!(shown.starts_with(&format!("{}: mesh0:", info.index)), "{shown}");
        assert!(shown.contains("mtu 1420") && shown.contains(",UP"), "{shown}");
        dataplane.set_mtu(1280).unwrap();
        assert!(link().contains("mtu 1280"));
        dataplane.detach_tun();
        assert_eq!(link(), "");
        dataplane.attach_tun(mesh0()).unwrap();
        drop(dataplane);
        assert_eq!(link(), "");
    });
}

#[test]
fn second_node_on_one_interface_is_told_of_the_first() {
    in_namespace(async || {
        let (first, second) = (started(), started());
        first.attach_tun(mesh0()).unwrap();
        let error = second.attach_tun(mesh0()).unwrap_err();
        let TunError::NameInUse {
            holder: Some(holder), ..
        } = &error
        else {
            panic!("{error}")
        };
        assert_eq!(holder.pid, std::process::id());
        let text = error.to_string();
        assert!(text.starts_with("interface mesh0 is in use by "), "{text}");
        assert!(matches!(
            first.attach_tun(mesh0()),
            Err(TunError::Attached { .. })
        ));
    });
}

#[test]
fn interface_of_another_kind_is_in_use() {
    in_namespace(async || {
        ip("link add cable0 type veth peer name cable1");
        let error = started()
            .attach_tun(TunConfig {
                name: "cable0".into(),
                mtu: 1420,
                up: true,
            })
            .unwrap_err();
        assert!(
            matches!(error, TunError::NameInUse { holder: None, .. }),
            "{error}"
        );
    });
}

#[test]
fn deleted_interface_is_noticed_and_can_be_made_again() {
    in_namespace(async || {
        let dataplane = started();
        let mut events = dataplane.events().unwrap();
        dataplane.attach_tun(mesh0()).unwrap();
        ip("link delete mesh0");
        let event = tokio::time::timeout(PATIENCE, events.recv()).await.unwrap();
        assert_eq!(event, Some(DataplaneEvent::TunGone));
        dataplane.attach_tun(mesh0()).unwrap();
        assert!(dataplane.answers(PATIENCE).await);
        assert!(link().contains("mesh0"));
    });
}

#[test]
fn interface_that_is_set_down_and_up_again_goes_on() {
    in_namespace(async || {
        let dataplane = started();
        dataplane.attach_tun(mesh0()).unwrap();
        ip("link set mesh0 down");
        assert!(dataplane.answers(PATIENCE).await);
        ip("link set mesh0 up");
        ip("address add 10.9.0.1/24 dev mesh0");
        let socket = UdpSocket::bind("10.9.0.1:0").unwrap();
        let before = dataplane.stats().dropped(DropReason::NoRoute);
        socket.send_to(b"nobody there", "10.9.0.2:9").unwrap();
        let counted = || dataplane.stats().dropped(DropReason::NoRoute) > before;
        wait_for("the packet is read and dropped", counted).await;
    });
}

#[test]
fn missing_capability_is_named() {
    in_namespace(async || {
        let thread = std::thread::spawn(|| {
            drop_privileges();
            let listen = vec!["127.0.0.1:0".parse().unwrap()];
            let error = Dataplane::start(DataplaneConfig {
                listen: listen.clone(),
                mark: 1,
                lanes: 1,
                offloads: Offloads::ALL,
            })
            .unwrap_err();
            assert!(matches!(error, StartError::NotPermitted), "{error}");
            let unmarked = Dataplane::start(DataplaneConfig {
                listen,
                mark: 0,
                lanes: 1,
                offloads: Offloads::ALL,
            })
            .unwrap();
            let error = unmarked.attach_tun(mesh0()).unwrap_err();
            assert!(matches!(error, TunError::NotPermitted { .. }), "{error}");
        });
        thread.join().unwrap();
    });
}

#[test]
fn host_without_ipv6_goes_on_with_ipv4() {
    in_namespace(async || {
        let listen = vec!["[::]:0".parse().unwrap(), "0.0.0.0:0".parse().unwrap()];
        std::fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1").unwrap();
        let dataplane = Dataplane::start(DataplaneConfig {
            listen,
            mark: MARK,
            lanes: 1,
            offloads: Offloads::ALL,
        })
        .unwrap();
        assert!(dataplane.listen_addrs().iter().any(SocketAddr::is_ipv4));
        dataplane.attach_tun(mesh0()).unwrap();
    });
}

/// Gives up every capability, on this thread and those that it starts.
fn drop_privileges() {
    let none = CapabilitySet::empty();
    set_capabilities(
        None,
        CapabilitySets {
            effective: none,
            permitted: none,
            inheritable: none,
        },
    )
    .unwrap();
}
