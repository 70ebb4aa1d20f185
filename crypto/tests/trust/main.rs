//! The rules of trust, each shown by what it lets in and what it keeps out.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests"
)]

mod chain;
mod containment;
mod lane_key;
mod mesh;
mod revocation;
mod secret;
mod shape;
mod shown;
mod tamper;
mod token;
mod token_text;
mod vectors;
