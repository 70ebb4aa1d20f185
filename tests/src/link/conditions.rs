//! What one way of a link does to frames.

use std::time::Duration;

/// All of it. The default is a clear way without delay.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Conditions {
    /// How long every frame is under way.
    pub delay: Duration,
    /// Added to the delay: evenly spread from nothing to this. Frames keep their order all the same.
    pub jitter: Duration,
    /// Which frames are overtaken.
    pub reordering: Reordering,
    /// Share of frames that arrive twice, from 0 to 1.
    pub duplicated: f64,
    /// Which frames never arrive.
    pub loss: Loss,
    /// A black hole: nothing arrives, and nobody is told.
    pub blocked: bool,
    /// Bits per second; what comes faster waits, and is lost once the queue is full.
    pub rate: Option<u64>,
}

/// Frames that are held back while later ones pass.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reordering {
    /// Share of frames that are held back, from 0 to 1.
    pub share: f64,
    /// For how long: evenly spread from nothing to this.
    pub by: Duration,
}

/// How frames are lost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Loss {
    /// None is.
    #[default]
    None,
    /// Each with this probability, whatever became of the others.
    Independent(f64),
    /// In bursts (Gilbert's model: a good state that loses nothing, a bad one that loses everything).
    Bursty {
        /// Mean share of lost frames, from 0 to below 1.
        mean: f64,
        /// Mean length of a burst, in frames, at least 1.
        burst: f64,
    },
}

impl Conditions {
    /// Nothing but a delay.
    pub fn delayed(delay: Duration) -> Conditions {
        Conditions {
            delay,
            ..Conditions::default()
        }
    }

    /// A black hole.
    pub fn black_hole() -> Conditions {
        Conditions {
            blocked: true,
            ..Conditions::default()
        }
    }
}
