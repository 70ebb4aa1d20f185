//! Worlds to test `meshnode` in: real processes on real networks, made of network namespaces.
//!
//! A [`World`] owns [`Host`]s (a network and a mount namespace each) wired by virtual cables; [`topology`] draws
//! the usual ones. On hosts run [`Node`]s (the `meshnode` binary through its real command line), [`traffic`]
//! checks what passes between hosts, and a [`Capture`] of the underlay proves that nothing passed in clear.
//!
//! ```text
//!   in_world(|world| {
//!       let vpcs = ThreeVpcs::build(world)?;       //  sz ─┐
//!       let mesh = vpcs.mesh()?;                   //  hk ─┼─ internet (captured)
//!       ...                                        //  gz ─┘
//!   })                                             //  afterwards: no packet in clear, no ERROR in a log
//! ```

#![forbid(unsafe_code)]

pub mod capture;
pub mod dashboards;
pub mod fuzz_bodies;
pub mod http;
pub mod link;
pub mod node;
pub mod random;
pub mod sim;
pub mod topology;
pub mod traffic;
pub mod wait;
pub mod world;

pub use capture::{Capture, Realm};
pub use node::Node;
pub use wait::eventually;
pub use world::{Host, Process, World, in_world};
