//! Adapters that make the desired state so: each may be run again at any time.

pub(crate) mod netlink;
pub(crate) mod sysctl;
