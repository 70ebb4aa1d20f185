//! A world: hosts, cables, processes and a capture, made together and gone together.
//!
//! Everything that a world leaves in the system carries its name, `mn<pid>-<n>`, and the world holds the lock on
//! `/run/meshnode-worlds/<name>` while it lives. So the next world, of any process, can sweep what a killed one
//! left: a name whose lock is free has no owner.

mod host;
mod process;
mod share;
mod sweep;
mod usage;

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};

pub use host::Host;
pub use process::Process;
pub use share::Share;

use crate::capture::{Capture, Realm};
use crate::link::Link;

static WORLDS: AtomicU32 = AtomicU32::new(0);

/// Lines of each log that a failed scenario prints.
const LOG_TAIL: usize = 60;

/// The owner of hosts, processes and captures. Dropping it removes them all, also while panicking.
#[derive(Debug)]
pub struct World {
    name: String,
    logs: tempfile::TempDir,
    hosts: Mutex<Vec<Host>>,
    processes: Mutex<Vec<Process>>,
    captures: Mutex<Vec<Capture>>,
    links: Mutex<Vec<Link>>,
    torn_down: AtomicBool,
    _lock: File,
}

/// Runs a scenario in a world of its own and then checks what must hold in every world: each capture saw no
/// inner packet in clear and no process logged at ERROR. When it fails, or when `MESHNODE_TEST_LOGS` is set, the logs
/// are printed.
///
/// # Errors
/// The scenario's own, or a broken promise.
pub fn in_world(scenario: impl FnOnce(&World) -> Result<()>) -> Result<()> {
    let world = World::create()?;
    let printed_on_failure = LogsOnFailure(&world);
    scenario(&world)?;
    world.check()?;
    if std::env::var_os("MESHNODE_TEST_LOGS").is_none() {
        std::mem::forget(printed_on_failure);
    }
    Ok(())
}

impl World {
    /// An empty world, after sweeping those whose owners died.
    ///
    /// # Errors
    /// No root, or no directory for its lock and logs.
    pub fn create() -> Result<World> {
        anyhow::ensure!(
            nix::unistd::geteuid().is_root(),
            "worlds are made of network namespaces: run as root"
        );
        sweep::sweep_dead_worlds()?;
        let name = format!(
            "mn{}-{}",
            std::process::id(),
            WORLDS.fetch_add(1, Ordering::Relaxed)
        );
        let lock = sweep::claim(&name)?;
        let logs = tempfile::Builder::new().prefix(&format!("{name}-")).tempdir()?;
        Ok(World {
            name,
            logs,
            hosts: Mutex::default(),
            processes: Mutex::default(),
            captures: Mutex::default(),
            links: Mutex::default(),
            torn_down: AtomicBool::new(false),
            _lock: lock,
        })
    }

    /// Removes what killed processes left behind.
    ///
    /// # Errors
    /// The directory of locks cannot be read.
    pub fn sweep() -> Result<()> {
        sweep::sweep_dead_worlds()
    }

    /// A new host, with nothing but a loopback interface.
    ///
    /// # Errors
    /// The namespaces cannot be made.
    pub fn host(&self, name: &str) -> Result<Host> {
        let host = Host::create(&format!("{}-{name}", self.name), name)?;
        lock(&self.hosts).push(host.clone());
        self.is_still_wanted().inspect_err(|_| host.remove())?;
        Ok(host)
    }

    /// A cable between two hosts: an interface on each, up, without addresses.
    ///
    /// # Errors
    /// A name is taken or longer than 15 bytes.
    pub fn cable(&self, a: (&Host, &str), b: (&Host, &str)) -> Result<()> {
        let (from, to) = (a.0.namespace(), b.0.namespace());
        host::ip(&[
            "link", "add", a.1, "netns", from, "type", "veth", "peer", "name", b.1, "netns", to,
        ])?;
        a.0.ip(&format!("link set {} up", a.1))?;
        b.0.ip(&format!("link set {} up", b.1))
    }

    /// Like [`World::cable`], with a [`Link`] that can delay, lose and reorder what passes. Clear at first.
    ///
    /// # Errors
    /// A name is taken or longer than 15 bytes, or there are no TAP devices.
    pub fn link(&self, a: (&Host, &str), b: (&Host, &str)) -> Result<Link> {
        let link = Link::start(a, b)?;
        lock(&self.links).push(link.clone());
        self.is_still_wanted().inspect_err(|_| link.end())?;
        Ok(link)
    }

    /// Starts a process on a host; its output goes to a log of that name.
    ///
    /// # Errors
    /// The program does not start.
    pub fn start(&self, host: &Host, name: &str, program: &str, arguments: &[&str]) -> Result<Process> {
        let mut command = host.command(program);
        command.args(arguments);
        self.spawn(command, name)
    }

    /// Like [`World::start`], of a command made by [`Host::command`].
    ///
    /// # Errors
    /// The program does not start.
    pub fn spawn(&self, command: std::process::Command, name: &str) -> Result<Process> {
        let process = Process::spawn(command, name, &self.new_log(name))?;
        lock(&self.processes).push(process.clone());
        self.is_still_wanted().inspect_err(|_| process.kill())?;
        Ok(process)
    }

    /// Gives a process at most so many hundredths of one core, until the share is lifted or dropped.
    ///
    /// # Errors
    /// The machine has no control groups for the processor.
    pub fn limit_processor(&self, process: &Process, percent: u32) -> Result<Share> {
        Share::limit(&format!("{}-{}", self.name, process.id()), process, percent)
    }

    /// Captures all interfaces of a host from now on; what is inner may appear nowhere in clear.
    ///
    /// # Errors
    /// tcpdump does not start.
    pub fn capture(&self, host: &Host, realm: Realm) -> Result<Capture> {
        let capture = Capture::start(host, realm)?;
        lock(&self.captures).push(capture.clone());
        self.is_still_wanted().inspect_err(|_| {
            capture.stop();
        })?;
        Ok(capture)
    }

    /// Where this world keeps files of its own.
    pub fn directory(&self) -> &Path {
        self.logs.path()
    }

    /// What holds in every world at its end.
    ///
    /// # Errors
    /// A packet passed in clear, or a log has a line at ERROR that the scenario did not expect.
    pub fn check(&self) -> Result<()> {
        for capture in lock(&self.captures).iter() {
            capture.no_inner_packet_in_clear()?;
        }
        for process in lock(&self.processes).iter() {
            process.no_unexpected_error()?;
        }
        Ok(())
    }

    /// Ends all processes and removes all hosts; the same as dropping, for owners that exit instead. What another
    /// thread still adds is removed at once.
    pub fn tear_down(&self) {
        self.torn_down.store(true, Ordering::SeqCst);
        for capture in lock(&self.captures).drain(..) {
            capture.stop();
        }
        for process in lock(&self.processes).drain(..) {
            process.kill();
        }
        // An open TAP keeps its namespace.
        for link in lock(&self.links).drain(..) {
            link.end();
        }
        for host in lock(&self.hosts).drain(..) {
            host.remove();
        }
        sweep::remove_directories(&self.name);
        sweep::release(&self.name);
    }

    fn is_still_wanted(&self) -> Result<()> {
        anyhow::ensure!(
            !self.torn_down.load(Ordering::SeqCst),
            "the world {} is being removed",
            self.name
        );
        Ok(())
    }

    fn new_log(&self, name: &str) -> PathBuf {
        let nth = lock(&self.processes).len();
        self.logs.path().join(format!("{nth:02}-{name}.log"))
    }

    /// Prints the end of every log to standard error.
    pub fn print_logs(&self) {
        for process in lock(&self.processes).iter() {
            process.print_log(LOG_TAIL);
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.tear_down();
    }
}

/// Prints the logs unless it is forgotten: an early return and a panic both drop it.
struct LogsOnFailure<'a>(&'a World);

impl Drop for LogsOnFailure<'_> {
    fn drop(&mut self) {
        self.0.print_logs();
    }
}

/// What a panicking thread left in the list is still to be cleaned up.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn open_lock(path: &Path) -> Result<File> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .with_context(|| format!("cannot open {}", path.display()))
}
