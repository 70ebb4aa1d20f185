//! Adapters that make the desired state so: each may be run again at any time.

pub mod dataplane;
pub mod lan;
pub mod netlink;
pub mod sysctl;
