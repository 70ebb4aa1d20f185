//! Engine against engine, bytes in and bytes out; through real WireGuard, except where virtual hours pass.

mod chaos;
mod checks;
mod clients;
mod devices;
mod epochs;
mod forwarding;
mod hostile;
mod lanes;
mod mtu;
mod net;
mod probes;
mod relays;
mod runs;
mod sessions;
