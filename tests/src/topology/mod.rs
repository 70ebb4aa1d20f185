//! The usual worlds.
//!
//! ```text
//!   VPC sz 172.18.0.0/16                     VPC hk 172.31.0.0/16                    VPC gz 172.20.0.0/16
//!   host .171.247 ─ gateway .171.245         gateway .185.158 ─ host .185.159        gateway .0.9 ─ host .0.13
//!                      198.51.100.10         203.0.113.10                            192.0.2.10
//!                            └──────── internet ──┴────────────────────────────────────┘
//! ```
//!
//! Each VPC also has IPv6: `fd00:172:18::/64` inside (the gateway is `::a`, the host `::b`) and, outside,
//! `2001:db8:18::10`. A fourth VPC, `fr` 172.22.0.0/16, waits for scenarios that need one. The internet is a
//! router that knows the outside subnets and nothing else, and it is captured from the start.
//!
//! [`Twins`] adds a LAN that both hk and gz serve, [`crowd`] adds idle nodes.

pub mod crowd;
mod mesh;
mod nat;
mod twins;
mod vpc;

pub use mesh::{CONFIG, Mesh, Options, reaches};
pub use nat::behind_nat;
pub use twins::{GATEWAYS, Roles, SERVER, SHARED, Twins, active};
pub use vpc::{PLANS, Plan, ThreeVpcs, Vpc, Wire, realm};
