//! The state directory: a node's keys, its grant and what it learned. Only this module writes it.
//!
//! | file | holds |
//! |---|---|
//! | `version` | format of the directory |
//! | `lock` | process id of the one who uses it (the lock itself is `flock`) |
//! | `node.key` | the node's signing key |
//! | `client.key` | the stable WireGuard key that clients see |
//! | `authority.key` | the mesh's signing key, on the founder; may be moved offline |
//! | `mesh` | the mesh's identity |
//! | `chain` | the grant chain; written last: with it, the directory holds a member |
//! | `peers.cache` `revocations` `admissions` `tokens` `counter` | membership's, see [`StoreItem`] |
//! | `announced.json` | name and prefixes given to `init`, `join` and `cidr add` |
//! | `clients.json`, `clients/NAME.key` | attached WireGuard devices |
//! | `owned.json` | what of the kernel's is ours |
//!
//! Every file is replaced whole and durably, or not at all; the directory is 0700, its files 0600.
//!
//! [`StoreItem`]: meshnode_membership::ports::StoreItem

mod atomic;
mod check;
pub mod entries;
pub mod error;
mod keys;
mod lock;
mod store;
#[cfg(test)]
mod tests;

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use meshnode_crypto::{GrantChain, MeshId, SigningKey};

pub use check::Presence;
pub use entries::{Announced, Announcement, ClientEntry};
pub use error::StateError;
pub use keys::fresh_seed;
use lock::{Lock, LockError};

/// Format of the directory that this program reads and writes.
const FORMAT: u32 = 1;

/// A state directory in use by this process. Clones share it; the last one gives the lock back.
#[derive(Clone, Debug)]
pub struct StateDir {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    _lock: Lock,
    writing: Mutex<Option<String>>,
}

/// What makes this node a member.
pub struct Identity {
    /// The mesh.
    pub mesh: MeshId,
    /// The node's key.
    pub key: SigningKey,
    /// From the authority to that key; its signatures are checked, its dates are not.
    pub chain: GrantChain,
}

impl StateDir {
    /// What `path` holds, without locking or changing anything.
    pub fn presence(path: &Path) -> Result<Presence, StateError> {
        check::presence(path)
    }

    /// The directory of a member, checked whole and locked.
    pub fn open(path: &Path) -> Result<StateDir, StateError> {
        match check::presence(path)? {
            Presence::Empty | Presence::Left => return Err(StateError::Empty(path.to_owned())),
            Presence::Unfinished => return Err(StateError::Unfinished(path.to_owned())),
            Presence::Member => {}
        }
        let state = StateDir::locked(path)?;
        check::format(path)?;
        check::permissions(path)?;
        state.sweep()?;
        state.identity()?;
        state.announced()?;
        state.clients()?;
        state.owned()?;
        Ok(state)
    }

    /// Whatever is there, locked: only to find out what of the kernel's is ours.
    pub fn open_to_clean(path: &Path) -> Result<StateDir, StateError> {
        check::format(path)?;
        StateDir::locked(path)
    }

    /// A directory for a new mesh: refused if a node or a kept authority key is in it.
    pub fn create(path: &Path) -> Result<StateDir, StateError> {
        StateDir::free_for_a_mesh(path)?;
        let state = StateDir::prepare(path)?;
        // Between the look and the lock another `init` may have come and gone.
        StateDir::free_for_a_mesh(path)?;
        Ok(state)
    }

    /// A directory for `join`: a member's as it is, else one with fresh keys or those of a join that was
    /// not finished (so that a one-use token that was already taken for them is honoured again).
    pub fn open_or_create(path: &Path) -> Result<StateDir, StateError> {
        match check::presence(path)? {
            Presence::Member => StateDir::open(path),
            Presence::Empty | Presence::Left | Presence::Unfinished => StateDir::prepare(path),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// What makes this node a member; fails if it is none yet.
    pub fn identity(&self) -> Result<Identity, StateError> {
        let mesh = self.mesh()?;
        let key = self.node_key()?;
        let file = self.file("chain");
        let bytes = self.required("chain")?;
        let chain = GrantChain::from_bytes(&bytes).map_err(|error| StateError::corrupt(&file, error))?;
        let verified = chain
            .verify_at_any_time(&mesh)
            .map_err(|error| StateError::corrupt(&file, error))?;
        match *verified.subject() == key.public_key() {
            true => Ok(Identity { mesh, key, chain }),
            false => Err(StateError::AnotherNode {
                directory: self.inner.path.clone(),
                granted: *verified.subject(),
                key: key.public_key(),
            }),
        }
    }

    /// Makes this directory that of the founder of a new mesh.
    pub fn found(
        &self,
        authority: &SigningKey,
        chain: &GrantChain,
        announced: &Announced,
    ) -> Result<(), StateError> {
        let mesh = MeshId::new(authority.public_key());
        keys::write(&self.file("authority.key"), authority)?;
        self.enrolled(&mesh, chain, announced)
    }

    /// Makes this directory that of a member. The chain goes last: before it, there is none.
    pub fn enrolled(
        &self,
        mesh: &MeshId,
        chain: &GrantChain,
        announced: &Announced,
    ) -> Result<(), StateError> {
        self.write("mesh", format!("{mesh}\n").as_bytes())?;
        self.set_announced(announced)?;
        self.write("chain", &chain.to_bytes())
    }

    /// The last write that failed since one succeeded: what the node runs on without.
    pub fn fault(&self) -> Option<String> {
        self.inner
            .writing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Removes the node. The authority key stays; the answer says where, if there was one.
    pub fn wipe(&self) -> Result<Option<PathBuf>, StateError> {
        // The chain first: whatever happens after it, this is no member any more.
        for name in ["chain", "node.key"] {
            let file = self.file(name);
            atomic::remove(&file).map_err(StateError::io("remove", &file))?;
        }
        for name in check::FILES
            .iter()
            .filter(|name| !matches!(**name, "authority.key" | "lock"))
        {
            let file = self.file(name);
            atomic::remove(&file).map_err(StateError::io("remove", &file))?;
        }
        let clients = self.file("clients");
        match fs::remove_dir_all(&clients) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(StateError::io("remove", &clients)(error));
            }
            _ => {}
        }
        let authority = self.file("authority.key");
        Ok(authority.exists().then_some(authority))
    }

    fn free_for_a_mesh(path: &Path) -> Result<(), StateError> {
        match check::presence(path)? {
            Presence::Empty | Presence::Unfinished => Ok(()),
            Presence::Left => Err(StateError::AuthorityKept(path.join("authority.key"))),
            Presence::Member => Err(StateError::Occupied {
                directory: path.to_owned(),
                found: check::found(path),
            }),
        }
    }

    fn prepare(path: &Path) -> Result<StateDir, StateError> {
        make_directory(path)?;
        let state = StateDir::locked(path)?;
        check::format_if_any(path)?;
        state.sweep()?;
        state.write("version", format!("{FORMAT}\n").as_bytes())?;
        for name in ["client.key", "node.key"] {
            keys::make_if_missing(&state.file(name))?;
        }
        check::permissions(path)?;
        Ok(state)
    }

    fn locked(path: &Path) -> Result<StateDir, StateError> {
        let file = path.join("lock");
        let lock = Lock::take(&file).map_err(|error| match error {
            LockError::Held(holder) => StateError::InUse {
                directory: path.to_owned(),
                holder,
            },
            LockError::Io(error) => StateError::io("lock", &file)(error),
        })?;
        let inner = Inner {
            path: path.to_owned(),
            _lock: lock,
            writing: Mutex::new(None),
        };
        Ok(StateDir {
            inner: Arc::new(inner),
        })
    }

    fn mesh(&self) -> Result<MeshId, StateError> {
        let bytes = self.required("mesh")?;
        let wrong = |why: String| StateError::corrupt(&self.file("mesh"), why);
        let text = std::str::from_utf8(&bytes).map_err(|error| wrong(error.to_string()))?;
        text.trim().parse().map_err(|error| wrong(format!("{error}")))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.inner.path.join(name)
    }

    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        match fs::read(self.file(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            other => other.map(Some),
        }
    }

    fn required(&self, name: &str) -> Result<Vec<u8>, StateError> {
        let file = self.file(name);
        let bytes = self.read(name).map_err(StateError::io("read", &file))?;
        bytes.ok_or_else(|| StateError::corrupt(&file, "it is missing"))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), StateError> {
        let file = self.file(name);
        self.save(&file, bytes).map_err(StateError::io("write", &file))
    }

    /// One writer at a time; remembers whether the last write failed.
    fn save(&self, file: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut fault = self.inner.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let result = atomic::write(file, bytes);
        *fault = result
            .as_ref()
            .err()
            .map(|error| format!("cannot write {}: {error}", file.display()));
        result
    }

    fn sweep(&self) -> Result<(), StateError> {
        for name in check::FILES {
            let file = self.file(name);
            atomic::sweep(&file).map_err(StateError::io("tidy", &file))?;
        }
        Ok(())
    }
}

/// Makes the directory, readable by its owner alone. One that exists is taken over only if nothing of
/// others is in it: `--state-dir /tmp` must not close `/tmp`.
fn make_directory(path: &Path) -> Result<(), StateError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(StateError::io("make", path))?;
    if check::presence(path)? != Presence::Empty {
        return Ok(());
    }
    match check::foreign(path)? {
        Some(found) => Err(StateError::Foreign {
            directory: path.to_owned(),
            found,
        }),
        None => fs::set_permissions(path, fs::Permissions::from_mode(0o700))
            .map_err(StateError::io("protect", path)),
    }
}
