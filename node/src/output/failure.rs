//! How a command says that it failed: what, why, and what to do about it.

use std::fmt;
use std::process::ExitCode;

/// Why a command ended, in the three parts every error of the program has.
///
/// Shown as `error: what`, then one indented line per reason, then `fix: what to do`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    what: String,
    why: Vec<String>,
    fix: Option<String>,
    code: u8,
}

impl Failure {
    /// The command was understood and did not succeed: exit code 1.
    pub fn new(what: impl fmt::Display) -> Failure {
        Failure {
            what: what.to_string(),
            why: Vec::new(),
            fix: None,
            code: 1,
        }
    }

    /// The command line or the configuration is wrong: exit code 2.
    pub fn usage(what: impl fmt::Display) -> Failure {
        Failure {
            code: 2,
            ..Failure::new(what)
        }
    }

    /// Adds a line that says why.
    #[must_use]
    pub fn because(mut self, why: impl fmt::Display) -> Failure {
        self.why.push(why.to_string());
        self
    }

    /// Says what to do about it.
    #[must_use]
    pub fn fix(mut self, fix: impl fmt::Display) -> Failure {
        self.fix = Some(fix.to_string());
        self
    }

    /// The failure of anything that carries a chain of causes; a [`Failure`] inside keeps its own text and code.
    pub fn from_chain(error: anyhow::Error) -> Failure {
        match error.downcast::<Failure>() {
            Ok(failure) => failure,
            Err(error) => error
                .chain()
                .skip(1)
                .fold(Failure::new(&error), |failure, cause| failure.because(cause)),
        }
    }

    /// What the process ends with.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        for why in &self.why {
            write!(f, "\n  {}", indent(why))?;
        }
        match &self.fix {
            Some(fix) => write!(f, "\n  fix: {}", indent(fix)),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}

/// Keeps the lines of one part below its first one.
fn indent(text: &str) -> String {
    text.replace('\n', "\n  ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_what_why_and_what_to_do() {
        let failure = Failure::new("cannot listen on 0.0.0.0:51820")
            .because("the port is in use")
            .fix("use --listen");
        assert_eq!(
            failure.to_string(),
            "cannot listen on 0.0.0.0:51820\n  the port is in use\n  fix: use --listen"
        );
    }

    #[test]
    fn a_failure_inside_a_chain_keeps_its_own_fix() {
        let error = anyhow::Error::new(Failure::usage("bad").fix("better")).context("starting");
        assert_eq!(Failure::from_chain(error), Failure::usage("bad").fix("better"));
    }

    #[test]
    fn a_plain_chain_becomes_reasons() {
        let error = anyhow::anyhow!("root").context("middle").context("top");
        assert_eq!(Failure::from_chain(error).to_string(), "top\n  middle\n  root");
    }
}
