//! The demo's look: a line per step with its time, a spinner while it lasts, colour on terminals only.

use std::fmt::Display;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use meshnode_tests::topology::Vpc;

const PICTURE: &str = "
   VPC sz 172.18.0.0/16             VPC hk 172.31.0.0/16             VPC gz 172.20.0.0/16
   host .171.247 ── gateway .171.245 ═══ gateway .185.158 ── host .185.159   gateway .0.9 ── host .0.13
                       ║                     ║                                   ║
                       ╚═════════════════════╩═══════════════════════════════════╝
";
/// Where the times stand.
const WIDTH: usize = 76;

/// Where the demo writes.
pub(crate) struct Screen {
    colour: bool,
}

impl Screen {
    pub(crate) fn new() -> Screen {
        Screen {
            colour: std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        }
    }

    pub(crate) fn title(&self) {
        println!(
            "\n{}\n{}",
            self.bold("meshnode: three VPCs, one mesh"),
            self.dim(PICTURE)
        );
    }

    /// Shows `what` while `work` runs, then with a tick and its time.
    pub(crate) fn step<T>(&self, what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let spinner = spinner(what);
        let start = Instant::now();
        let done = work();
        spinner.finish_and_clear();
        let mark = if done.is_ok() {
            self.green("✓")
        } else {
            self.red("✗")
        };
        println!(" {mark} {what:WIDTH$} {}", self.dim(seconds(start.elapsed())));
        done
    }

    /// A step that is a command of the user on a gateway.
    pub(crate) fn command<T>(&self, on: &Vpc, what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.step(&format!("{}  # meshnode {what}", on.plan.name), work)
    }

    pub(crate) fn heading(&self, text: &str) {
        println!("\n {}\n", self.bold(text));
    }

    pub(crate) fn line(&self, text: &str) {
        println!(" {text}");
    }

    pub(crate) fn bold(&self, text: impl Display) -> String {
        self.paint("1", text)
    }

    pub(crate) fn dim(&self, text: impl Display) -> String {
        self.paint("2", text)
    }

    pub(crate) fn green(&self, text: impl Display) -> String {
        self.paint("32", text)
    }

    pub(crate) fn red(&self, text: impl Display) -> String {
        self.paint("31", text)
    }

    fn paint(&self, code: &str, text: impl Display) -> String {
        if self.colour {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_string()
        }
    }
}

/// Drawn on standard error, and only on a terminal.
pub(crate) fn spinner(what: &str) -> ProgressBar {
    let spinner = ProgressBar::new_spinner().with_message(what.to_owned());
    spinner.set_style(
        ProgressStyle::with_template(" {spinner:.cyan} {msg} {elapsed:.dim}")
            .unwrap_or_else(|_| ProgressStyle::default_spinner()),
    );
    spinner.enable_steady_tick(Duration::from_millis(80));
    spinner
}

fn seconds(time: Duration) -> String {
    format!("{:5.2} s", time.as_secs_f64())
}
