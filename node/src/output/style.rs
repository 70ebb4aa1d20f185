//! Colours, and when to leave them out.

use std::fmt;

/// What a piece of text means, not how it looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    /// Works.
    Good,
    /// Deserves a look.
    Warn,
    /// Does not work.
    Bad,
    /// The noun of the line.
    Strong,
    /// Labels and what matters least.
    Dim,
}

/// Whether to colour at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    colour: bool,
}

impl Style {
    /// Text without escape sequences.
    #[cfg(test)]
    pub const PLAIN: Style = Style { colour: false };

    /// Colours for a terminal, unless `NO_COLOR` is set (no-color.org) or `TERM=dumb`.
    pub fn detect(is_terminal: bool) -> Style {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Style {
            colour: is_terminal && !refused,
        }
    }

    /// True if text may carry escape sequences.
    pub fn colours(self) -> bool {
        self.colour
    }

    /// `text`, painted if colours are on.
    pub fn paint(self, paint: Paint, text: impl fmt::Display) -> String {
        if !self.colour {
            return text.to_string();
        }
        let code = match paint {
            Paint::Good => "32",
            Paint::Warn => "33",
            Paint::Bad => "1;31",
            Paint::Strong => "1",
            Paint::Dim => "2",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}
