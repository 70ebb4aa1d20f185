//! Descriptors that the runtime has no type of its own for.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Tells when `source` is ready; it stays inside, and so open, for as long as it is watched.
#[expect(
    deprecated,
    reason = "the replacement is unsafe: its caller vouches for what `AsFd` and owning the source give here"
)]
pub fn watch<T: AsFd + AsRawFd>(source: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    AsyncFd::with_interest(source, interest)
}
