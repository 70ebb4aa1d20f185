//! The two streams of a command: results on stdout, everything beside them on stderr.

use std::cell::Cell;
use std::fmt;
use std::io::{self, IsTerminal, Write};

use super::Failure;
use super::style::{Paint, Style};

/// Where a command writes. A closed pipe (`meshnode peers | head -1`) ends the writing, not the program.
pub struct Console {
    out: Style,
    err: Style,
    closed: Cell<bool>,
}

impl Console {
    /// The streams of this process; colours only on a terminal and without `NO_COLOR`.
    pub fn of_process() -> Console {
        Console {
            out: Style::detect(io::stdout().is_terminal()),
            err: Style::detect(io::stderr().is_terminal()),
            closed: Cell::new(false),
        }
    }

    /// How to paint text meant for stdout.
    pub fn style(&self) -> Style {
        self.out
    }

    /// True if a person, not a program, reads stdout.
    pub fn is_terminal(&self) -> bool {
        io::stdout().is_terminal()
    }

    /// True once the reader of stdout went away.
    pub fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// One result line.
    pub fn print(&self, line: impl fmt::Display) -> Result<(), Failure> {
        self.written(writeln!(io::stdout().lock(), "{line}"))
    }

    /// Result text that brings its own line ends.
    pub fn print_raw(&self, text: impl fmt::Display) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        self.written(write!(out, "{text}").and_then(|()| out.flush()))
    }

    /// Lines for stderr in white on black whatever the terminal's own colours are: cameras want that.
    pub fn light_on_dark(&self, text: &str) -> String {
        match self.err.colours() {
            true => text
                .lines()
                .map(|line| format!("\x1b[97;40m{line}\x1b[0m"))
                .collect::<Vec<_>>()
                .join("\n"),
            false => text.to_owned(),
        }
    }

    /// A line beside the result: what to do next, what was noticed.
    pub fn hint(&self, line: impl fmt::Display) {
        self.note(line);
    }

    /// Something that did not stop the command but that the user should know.
    pub fn warn(&self, line: impl fmt::Display) {
        self.note(format_args!("{} {line}", self.err.paint(Paint::Warn, "warning:")));
    }

    /// The failure that ends the command.
    pub fn fail(&self, failure: &Failure) {
        self.note(format_args!("{} {failure}", self.err.paint(Paint::Bad, "error:")));
    }

    /// Nobody can be told that stderr is closed, so that is the one place where a write may fail unseen.
    fn note(&self, line: impl fmt::Display) {
        let _closed_stderr = writeln!(io::stderr().lock(), "{line}");
    }

    fn written(&self, result: io::Result<()>) -> Result<(), Failure> {
        match result {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => self.closed.set(true),
            Err(error) => return Err(Failure::new("cannot write the result").because(error)),
            Ok(()) => {}
        }
        Ok(())
    }
}
