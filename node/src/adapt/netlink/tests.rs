//! The adapter against a real kernel, each test in a network namespace of its own.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ipnet::IpNet;
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};

use super::message::{MARKED_TABLE, SeenRoute};
use super::snapshot::Snapshot;
use super::{Farewell, Interface, Ledger, Netlink, Owned};
use crate::desired::{KernelDesired, KernelRoute, MESH_METRIC};

#[derive(Default)]
struct Memory(Mutex<Owned>);

impl Ledger for Memory {
    fn owned(&self) -> Owned {
        self.0.lock().unwrap().clone()
    }
    fn remember(&self, owned: &Owned) -> io::Result<()> {
        *self.0.lock().unwrap() = owned.clone();
        Ok(())
    }
}

/// A host with an uplink 192.0.2.1/24, a default route, and a link that stands in for the TUN.
struct TestHost {
    handle: Handle,
    uplink: u32,
    tun: u32,
    ledger: Arc<Memory>,
}

/// Runs `test` on a thread of its own in a new network namespace, or says that it may not.
fn in_namespace<F: Future<Output = ()>>(test: impl FnOnce(TestHost) -> F + Send + 'static) {
    let thread = std::thread::spawn(move || {
        if let Err(error) = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET) {
            assert!(
                !nix::unistd::geteuid().is_root(),
                "root cannot make a namespace: {error}"
            );
            return;
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async { test(TestHost::new().await).await });
    });
    thread.join().unwrap();
}

impl TestHost {
    async fn new() -> TestHost {
        let (connection, handle, _) = rtnetlink::new_connection().unwrap();
        tokio::spawn(connection);
        for (a, b) in [("up0", "far0"), ("mesh0", "meshfar0")] {
            handle
                .link()
                .add(LinkVeth::new(a, b).build())
                .execute()
                .await
                .unwrap();
        }
        let mut host = TestHost {
            handle,
            uplink: 0,
            tun: 0,
            ledger: Arc::default(),
        };
        for name in ["lo", "up0", "far0", "mesh0", "meshfar0"] {
            let index = host.index(name).await;
            host.link(LinkMessageBuilder::<LinkUnspec>::new().index(index).up())
                .await;
        }
        host.uplink = host.index("up0").await;
        host.tun = host.index("mesh0").await;
        host.add_address(host.uplink, "192.0.2.1/24").await;
        host.add_route("0.0.0.0/0", "192.0.2.254").await;
        host
    }

    async fn index(&self, name: &str) -> u32 {
        let links = Snapshot::read(&self.handle, true).await.unwrap().links;
        links.into_iter().find(|(_, l)| l.name == name).unwrap().0
    }

    async fn link(&self, message: LinkMessageBuilder<LinkUnspec>) {
        self.handle.link().set(message.build()).execute().await.unwrap();
    }

    async fn add_address(&self, link: u32, net: &str) {
        let net: IpNet = net.parse().unwrap();
        self.handle
            .address()
            .add(link, net.addr(), net.prefix_len())
            .execute()
            .await
            .unwrap();
    }

    async fn add_route(&self, prefix: &str, gateway: &str) {
        let (prefix, gateway): (IpNet, IpAddr) = (prefix.parse().unwrap(), gateway.parse().unwrap());
        let route = RouteMessageBuilder::<IpAddr>::new()
            .destination_prefix(prefix.network(), prefix.prefix_len())
            .unwrap()
            .gateway(gateway)
            .unwrap();
        self.handle.route().add(route.build()).execute().await.unwrap();
    }

    async fn snapshot(&self) -> Snapshot {
        Snapshot::read(&self.handle, true).await.unwrap()
    }

    /// Waits for the kernel to be as `good` says, by looking again: a generous bound, no timing.
    async fn until(&self, what: &str, good: impl Fn(&Snapshot) -> bool) {
        for _ in 0..1000 {
            if good(&self.snapshot().await) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let snapshot = self.snapshot().await;
        panic!("never came true: {what}; routes {:#?}", lines(&snapshot));
    }

    async fn node(&self) -> Netlink {
        let netlink = Netlink::start(self.ledger.clone()).await.unwrap();
        assert!(
            netlink
                .apply(desired(&["10.2.0.0/16", "10.3.0.0/16", "fd00:1::/64"]))
                .await
                .unwrap()
                .is_empty()
        );
        let interface = Interface {
            index: self.tun,
            name: "mesh0".into(),
            mtu: 1400,
        };
        let refused = netlink.attach(interface).await.unwrap();
        assert!(refused.is_empty(), "{refused:?}");
        netlink
    }
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn desired(prefixes: &[&str]) -> KernelDesired {
    let nets: Vec<IpNet> = prefixes.iter().map(|p| net(p)).collect();
    let route = |prefix: &IpNet| KernelRoute {
        prefix: *prefix,
        metric: MESH_METRIC,
        source_hint: None,
    };
    KernelDesired {
        routes: nets.iter().map(route).collect(),
        guards: nets.iter().copied().filter(|n| n.prefix_len() > 1).collect(),
        addresses: BTreeSet::from([net("fd00::1/128")]),
        own: Vec::new(),
    }
}

fn lines(snapshot: &Snapshot) -> Vec<String> {
    let line = |r: &SeenRoute| {
        format!(
            "{} table {} proto {} metric {} oif {:?} {:?}",
            r.prefix, r.table, r.protocol, r.metric, r.oif, r.kind
        )
    };
    snapshot.routes.iter().map(line).collect()
}

fn mesh_routes(snapshot: &Snapshot) -> BTreeSet<IpNet> {
    let mesh = snapshot
        .routes
        .iter()
        .filter(|r| r.is_ours() && r.in_main() && !r.is_guard());
    mesh.map(|r| r.prefix).collect()
}

fn guards(snapshot: &Snapshot) -> BTreeSet<IpNet> {
    snapshot
        .routes
        .iter()
        .filter(|r| r.is_guard())
        .map(|r| r.prefix)
        .collect()
}

fn nets(prefixes: &[&str]) -> BTreeSet<IpNet> {
    prefixes.iter().map(|p| net(p)).collect()
}

fn marked_default(snapshot: &Snapshot) -> bool {
    let marked = snapshot.routes.iter().filter(|r| r.table == MARKED_TABLE);
    marked.filter(|r| r.gateway && r.prefix.prefix_len() == 0).count() == 1
}

const THREE: [&str; 3] = ["10.2.0.0/16", "10.3.0.0/16", "fd00:1::/64"];

#[test]
fn desired_routes_guards_address_and_marked_table_are_installed() {
    in_namespace(|host| async move {
        let netlink = host.node().await;
        let snapshot = host.snapshot().await;
        assert_eq!(mesh_routes(&snapshot), nets(&THREE), "{:#?}", lines(&snapshot));
        assert_eq!(guards(&snapshot), nets(&THREE));
        assert!(marked_default(&snapshot), "{:#?}", lines(&snapshot));
        assert!(snapshot.rule_v4 && snapshot.rule_v6);
        assert!(
            snapshot
                .addresses
                .iter()
                .any(|a| a.link == host.tun && a.net == net("fd00::1/128"))
        );
        assert_eq!(snapshot.links[&host.tun].mtu, 1400);
        assert_eq!(netlink.refusals(), 0);
    });
}

#[test]
fn a_second_pass_finds_nothing_to_do() {
    in_namespace(|host| async move {
        let netlink = host.node().await;
        let wanted = desired(&THREE);
        let interface = Interface {
            index: host.tun,
            name: "mesh0".into(),
            mtu: 1400,
        };
        let owned = host.ledger.owned();
        let steps = super::plan::plan(
            &host.snapshot().await,
            &super::plan::Wanted {
                kernel: &wanted,
                interface: Some(&interface),
                owned: &owned,
                previous: &wanted.addresses,
                ipv6: true,
            },
        );
        assert!(steps.is_empty(), "{steps:#?}");
        drop(netlink);
    });
}

#[test]
fn flushed_routes_come_back() {
    in_namespace(|host| async move {
        let netlink = host.node().await;
        let ours: Vec<SeenRoute> = host
            .snapshot()
            .await
            .routes
            .into_iter()
            .filter(SeenRoute::is_ours)
            .collect();
        for route in &ours {
            host.handle
                .route()
                .del(super::plan::exact(route))
                .execute()
                .await
                .unwrap();
        }
        host.until("routes back", |s| {
            mesh_routes(s) == nets(&THREE) && guards(s) == nets(&THREE)
        })
        .await;
        host.until("marked table back", marked_default).await;
        assert!(netlink.repairs() > 0);
    });
}

#[test]
fn deleted_rules_come_back() {
    in_namespace(|host| async move {
        let _netlink = host.node().await;
        super::kernel::delete_rule(&host.handle, false).await.unwrap();
        super::kernel::delete_rule(&host.handle, true).await.unwrap();
        host.until("both rules back", |s| s.rule_v4 && s.rule_v6).await;
    });
}

#[test]
fn interface_set_down_or_renamed_is_set_right() {
    in_namespace(|host| async move {
        let _netlink = host.node().await;
        let message = || LinkMessageBuilder::<LinkUnspec>::new().index(host.tun);
        host.link(message().down().name("other0")).await;
        host.until("up and named as before", |s| {
            let link = &s.links[&host.tun];
            link.up && link.name == "mesh0" && mesh_routes(s) == nets(&THREE)
        })
        .await;
        host.until("address back", |s| {
            s.addresses.iter().any(|a| a.net == net("fd00::1/128"))
        })
        .await;
    });
}

#[test]
fn deleted_interface_is_reported_and_guards_stay() {
    in_namespace(|host| async move {
        let netlink = host.node().await;
        let mut seen = netlink.seen();
        host.handle.link().del(host.tun).execute().await.unwrap();
        seen.wait_for(|s| s.interface_gone).await.unwrap();
        assert_eq!(guards(&host.snapshot().await), nets(&THREE));
    });
}

#[test]
fn a_changed_default_route_is_copied() {
    in_namespace(|host| async move {
        let _netlink = host.node().await;
        let routes = host.snapshot().await.routes;
        let default = routes.iter().find(|r| r.gateway && r.is_host_route()).unwrap();
        host.handle
            .route()
            .del(default.message.clone())
            .execute()
            .await
            .unwrap();
        host.until("copy gone", |s| !marked_default(s)).await;
        host.add_route("0.0.0.0/0", "192.0.2.253").await;
        host.until("copy back", marked_default).await;
    });
}

#[test]
fn stop_keeps_guards_and_removes_the_rest() {
    in_namespace(|host| async move {
        let netlink = host.node().await;
        assert!(netlink.stop(Farewell::KeepGuards).await.unwrap().is_empty());
        let snapshot = host.snapshot().await;
        assert_eq!(guards(&snapshot), nets(&THREE));
        assert_eq!(
            snapshot.routes.iter().filter(|r| r.is_ours()).count(),
            3,
            "{:#?}",
            lines(&snapshot)
        );
        assert!(!snapshot.rule_v4 && !snapshot.rule_v6);
        assert_eq!(host.ledger.owned().guards, nets(&THREE));
    });
}

#[test]
fn leave_removes_everything_of_ours_and_nothing_else() {
    in_namespace(|host| async move {
        let foreign = super::message::guard(net("10.99.0.0/16"));
        host.handle.route().add(foreign).execute().await.unwrap();
        let netlink = host.node().await;
        assert!(netlink.stop(Farewell::RemoveAll).await.unwrap().is_empty());
        let snapshot = host.snapshot().await;
        assert_eq!(
            guards(&snapshot),
            nets(&["10.99.0.0/16"]),
            "a guard that is not in our ledger stays"
        );
        assert!(mesh_routes(&snapshot).is_empty());
        assert_eq!(host.ledger.owned(), Owned::default());
    });
}

#[test]
fn leftovers_of_a_crash_are_adopted_or_swept() {
    in_namespace(|host| async move {
        host.ledger
            .remember(&Owned {
                guards: nets(&["10.2.0.0/16", "10.77.0.0/16"]),
                ..Owned::default()
            })
            .unwrap();
        for prefix in ["10.2.0.0/16", "10.77.0.0/16"] {
            host.handle
                .route()
                .add(super::message::guard(net(prefix)))
                .execute()
                .await
                .unwrap();
        }
        let _netlink = host.node().await;
        assert_eq!(guards(&host.snapshot().await), nets(&THREE));
    });
}

#[test]
fn own_prefix_covered_by_a_mesh_route_stays_on_the_hosts_side() {
    in_namespace(|host| async move {
        let netlink = host.node().await;
        let mut covering = desired(&["10.0.0.0/8"]);
        covering.own = vec![net("10.1.0.0/16")];
        assert!(netlink.apply(covering).await.unwrap().is_empty());
        let pinned = |s: &Snapshot| {
            s.routes
                .iter()
                .any(|r| r.is_ours() && r.in_main() && r.gateway && r.prefix == net("10.1.0.0/16"))
        };
        assert!(
            pinned(&host.snapshot().await),
            "{:#?}",
            lines(&host.snapshot().await)
        );
        assert!(netlink.apply(desired(&THREE)).await.unwrap().is_empty());
        assert!(!pinned(&host.snapshot().await));
    });
}

#[test]
fn changed_source_hint_replaces_the_route() {
    in_namespace(|host| async move {
        let netlink = host.node().await;
        let mut hinted = desired(&["10.2.0.0/16"]);
        hinted.routes[0].source_hint = Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)));
        assert!(netlink.apply(hinted).await.unwrap().is_empty());
        let snapshot = host.snapshot().await;
        let route = snapshot
            .routes
            .iter()
            .find(|r| r.is_ours() && r.oif == Some(host.tun))
            .unwrap();
        assert_eq!(route.source, Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))));
        assert_eq!(mesh_routes(&snapshot), nets(&["10.2.0.0/16"]));
    });
}

#[test]
fn host_leaves_out_our_own_interface() {
    in_namespace(|host| async move {
        let netlink = host.node().await;
        let seen = netlink.seen().borrow().clone();
        assert_eq!(seen.host.addresses, [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))]);
        assert_eq!(seen.host.connected.len(), 1);
        assert!(seen.host.routes.contains(&net("0.0.0.0/0")));
        assert!(
            !seen.host.routes.iter().any(|r| *r == net("fd00::1/128")),
            "{:?}",
            seen.host.routes
        );
    });
}

#[test]
fn with_ipv6_disabled_ipv4_works_and_ipv6_is_left_out() {
    in_namespace(|host| async move {
        for scope in ["all", "default"] {
            std::fs::write(format!("/proc/sys/net/ipv6/conf/{scope}/disable_ipv6"), "1").unwrap();
        }
        let netlink = host.node().await;
        let v4 = nets(&["10.2.0.0/16", "10.3.0.0/16"]);
        let snapshot = host.snapshot().await;
        assert_eq!(mesh_routes(&snapshot), v4);
        assert_eq!(guards(&snapshot), v4);
        assert!(!netlink.seen().borrow().host.ipv6);
        assert_eq!(netlink.refusals(), 0);
    });
}

#[test]
fn an_unmarked_packet_meets_the_guard_and_a_marked_one_the_underlay() {
    in_namespace(|host| async move {
        let netlink = host.node().await;
        assert!(
            netlink
                .apply(desired(&["198.51.100.0/24"]))
                .await
                .unwrap()
                .is_empty()
        );
        let out = |mark: u32| {
            let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
            nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::Mark, &mark).unwrap();
            socket
                .connect("198.51.100.7:9")
                .map(|()| socket.local_addr().unwrap().ip())
        };
        assert_eq!(out(super::MARK).unwrap(), IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)));
        host.handle.link().del(host.tun).execute().await.unwrap();
        assert!(out(0).is_err(), "without the TUN the guard answers");
        assert!(out(super::MARK).is_ok());
    });
}
