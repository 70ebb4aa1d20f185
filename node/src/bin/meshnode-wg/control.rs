//! The socket that `wg` speaks to, `/var/run/wireguard/<interface>.sock`. Removing it ends the device.

use std::fs;
use std::mem::MaybeUninit;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::fd::OwnedFd;
use rustix::fs::inotify;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Mutex, Semaphore};

use crate::device::Device;
use crate::readiness;
use meshnode::private_socket;
use meshnode::uapi_requests::Conversation;

/// Where `wg` looks.
const DIRECTORY: &str = "/var/run/wireguard";

/// Longest request: a million prefixes of the longest kind.
const MAX_REQUEST: u64 = 64 << 20;

/// Connections at once.
const MAX_CONNECTIONS: usize = 16;

/// How long a device may take to end.
const ENDING: Duration = Duration::from_secs(2);

/// How often it is looked whether it has.
const AGAIN: Duration = Duration::from_millis(20);

/// How long one connection may last.
const LONGEST: Duration = Duration::from_secs(60);

/// The bound socket; dropping it removes its file, unless another device has it by now.
pub struct Socket {
    listener: UnixListener,
    watch: AsyncFd<OwnedFd>,
    path: PathBuf,
    /// Device and inode of the file that is ours.
    file: (u64, u64),
}

impl Socket {
    /// Makes the socket of an interface. One that nobody answers on is a leftover and is replaced. One that is answered may
    /// belong to a device whose interface was deleted just now: it gets time to end.
    pub async fn bind(interface: &str) -> anyhow::Result<Socket> {
        let path = Path::new(DIRECTORY).join(format!("{interface}.sock"));
        let deadline = Instant::now() + ENDING;
        while is_answered(&path) && Instant::now() < deadline {
            tokio::time::sleep(AGAIN).await;
        }
        Socket::at(path.clone()).with_context(|| format!("cannot make the socket {}", path.display()))
    }

    fn at(path: PathBuf) -> anyhow::Result<Socket> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        if is_answered(&path) {
            bail!("it is in use by another process: is this interface running already?");
        }
        let listener = private_socket::bind(&path)?;
        let file = identity(&path).context("it vanished at once")?;
        let watch = watch(&path)?;
        Ok(Socket {
            listener,
            watch,
            path,
            file,
        })
    }

    /// Returns when the file is removed or replaced.
    pub async fn removed(&self) {
        while self.is_there() {
            let Ok(mut ready) = self.watch.readable().await else {
                return std::future::pending().await;
            };
            let mut space = [MaybeUninit::uninit(); 1024];
            while inotify::Reader::new(self.watch.get_ref(), &mut space)
                .next()
                .is_ok()
            {}
            ready.clear_ready();
        }
    }

    fn is_there(&self) -> bool {
        identity(&self.path) == Some(self.file)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.is_there() {
            private_socket::unbind(&self.path);
        }
    }
}

/// Answers until the socket fails.
pub async fn serve(socket: &Socket, device: &Arc<Mutex<Device>>) -> anyhow::Error {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let accepted = async {
            let slot = Arc::clone(&slots).acquire_owned().await?;
            anyhow::Ok((slot, socket.listener.accept().await?.0))
        };
        let (slot, stream) = match accepted.await {
            Ok(accepted) => accepted,
            Err(error) => return error.context("the control socket failed"),
        };
        let device = Arc::clone(device);
        tokio::spawn(async move {
            match tokio::time::timeout(LONGEST, converse(stream, &device)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "a connection of wg broke off"),
                Err(_) => tracing::debug!("a connection of wg lasted too long"),
            }
            drop(slot);
        });
    }
}

async fn converse(stream: UnixStream, device: &Mutex<Device>) -> std::io::Result<()> {
    let mut conversation = Conversation::new(stream, MAX_REQUEST);
    while let Some(request) = conversation.next().await? {
        let answer = device.lock().await.answer(&request).await;
        conversation.answer(&answer).await?;
    }
    Ok(())
}

fn is_answered(path: &Path) -> bool {
    std::os::unix::net::UnixStream::connect(path).is_ok()
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path)
        .ok()
        .map(|file| (file.dev(), file.ino()))
}

/// Tells of the removal of a file. A bound socket keeps its inode, whose count of names changes then.
fn watch(path: &Path) -> anyhow::Result<AsyncFd<OwnedFd>> {
    let inotify = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC)?;
    let removal =
        inotify::WatchFlags::ATTRIB | inotify::WatchFlags::DELETE_SELF | inotify::WatchFlags::MOVE_SELF;
    inotify::add_watch(&inotify, path, removal)?;
    Ok(readiness::watch(inotify, Interest::READABLE)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_removed_or_replaced_file_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("wireguard/wg0.sock");
        let first = Socket::at(path.clone()).unwrap();
        assert!(Socket::at(path.clone()).is_err(), "it is in use");
        fs::remove_file(&path).unwrap();
        first.removed().await;
        let second = Socket::at(path.clone()).unwrap();
        fs::rename(&path, dir.path().join("elsewhere")).unwrap();
        second.removed().await;
        drop(first);
        drop(Socket::at(path.clone()).unwrap());
        assert!(!path.exists(), "its owner removes it");
    }
}
