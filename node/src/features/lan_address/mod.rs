//! A virtual address on a LAN that several gateways share, for hosts that know only one gateway.
//!
//! The gateways of one prefix that name the same `virtual_address` agree, by the records and the paths between them, who
//! should hold it ([`decide`]); the LAN itself is asked before it is taken ([`claim`]), and told afterwards ([`frames`]).
//! The kernel has it for 2 s at a time, and only the living process renews it: a frozen gateway loses it by itself.
//!
//! In a cloud this does nothing: there the provider's route table says which machine has an address.

pub mod claim;
pub mod decide;
pub mod frames;
