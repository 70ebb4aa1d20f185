//! The way to the background: the program starts itself once more, detached, and returns when the interface is ready.
//!
//! ```text
//!   launcher ──spawn──► device: own session, makes interface and socket
//!      ▲                   │ "ready", or what went wrong
//!      └────── pipe ◄──────┘ (the device's standard output until then)
//! ```

use std::fs::File;
use std::io::{Read, Write, stderr, stdout};
use std::process::{Child, Command, ExitCode, Stdio};

use anyhow::Context;

use crate::log;
use crate::options::Options;

/// What the device says when it answers.
const READY: &str = "ready\n";

/// Set for the detached process alone.
const DETACHED: &str = "MESHNODE_WG_DETACHED";

/// What wireguard-go calls staying in the foreground.
const FOREGROUND: &str = "WG_PROCESS_FOREGROUND";

/// What this process is to do.
pub enum Role {
    /// Start the device in the background and wait for it.
    Launcher,
    /// Be the device, and tell when it is ready.
    Device(Ready),
}

/// Who waits for the device.
pub enum Ready {
    /// A launcher, at the other end of standard output.
    Launcher,
    /// Nobody: it runs in the foreground.
    Nobody,
}

/// By the command line and the environment.
pub fn role(options: &Options) -> Role {
    let is_one = |name| std::env::var(name).is_ok_and(|value| value == "1");
    if is_one(DETACHED) {
        Role::Device(Ready::Launcher)
    } else if options.foreground || is_one(FOREGROUND) {
        Role::Device(Ready::Nobody)
    } else {
        Role::Launcher
    }
}

/// Starts the device in the background: 0 when it is ready, else 1 with the reason.
pub fn launch(options: &Options) -> ExitCode {
    let failure = match spawn(options).and_then(listen) {
        Ok(said) if said == READY => return ExitCode::SUCCESS,
        Ok(said) if said.is_empty() => "it ended without a word\n".to_owned(),
        Ok(said) => said,
        Err(error) => format!("{error:#}\n"),
    };
    // Nobody is left to tell when standard error is closed.
    let _ = write!(stderr(), "meshnode-wg: {failure}");
    ExitCode::FAILURE
}

fn spawn(options: &Options) -> anyhow::Result<Child> {
    let program = std::env::current_exe().context("cannot find this program: is /proc mounted?")?;
    let log = if log::is_wanted() {
        Stdio::inherit()
    } else {
        Stdio::null()
    };
    Command::new(program)
        .arg(&options.interface)
        .env(DETACHED, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .context("cannot start in the background")
}

/// What the device says until it closes its end.
fn listen(mut device: Child) -> anyhow::Result<String> {
    let mut said = String::new();
    let mut pipe = device.stdout.take().context("it has no pipe")?;
    pipe.read_to_string(&mut said)
        .context("cannot hear from the background")?;
    Ok(said)
}

impl Ready {
    /// Leaves the launcher's session and directory.
    pub fn detach(&self) -> anyhow::Result<()> {
        if let Ready::Launcher = self {
            rustix::process::setsid().context("cannot leave the session")?;
            std::env::set_current_dir("/").context("cannot enter /")?;
        }
        Ok(())
    }

    /// Tells that the device answers, and lets go of the pipe.
    pub fn tell(&self) -> anyhow::Result<()> {
        if let Ready::Launcher = self {
            stdout().write_all(READY.as_bytes())?;
            stdout().flush()?;
            rustix::stdio::dup2_stdout(File::open("/dev/null")?)?;
        }
        Ok(())
    }

    /// Tells what went wrong, to the launcher or to whoever looks at us.
    pub fn fail(&self, error: &anyhow::Error) {
        let told = match self {
            Ready::Launcher => writeln!(stdout(), "{error:#}"),
            Ready::Nobody => writeln!(stderr(), "meshnode-wg: {error:#}"),
        };
        if told.is_err() {
            tracing::error!("{error:#}");
        }
    }
}
