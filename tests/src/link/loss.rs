//! Which frames are lost.

use super::Loss;
use crate::random::Random;

/// The state of a lossy way.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Losses {
    in_burst: bool,
}

impl Losses {
    /// Whether the next frame is lost.
    pub(super) fn takes(&mut self, loss: Loss, random: &mut Random) -> bool {
        match loss {
            Loss::None => self.in_burst = false,
            Loss::Independent(share) => self.in_burst = random.chance(share),
            Loss::Bursty { mean, burst } => self.step(mean, burst, random),
        }
        self.in_burst
    }

    /// A burst ends after each frame with 1/burst. How often one begins follows: of all frames, `mean` are in one.
    fn step(&mut self, mean: f64, burst: f64, random: &mut Random) {
        let ends = 1.0 / burst.max(1.0);
        let begins = ends * mean / (1.0 - mean).max(f64::EPSILON);
        self.in_burst = match self.in_burst {
            true => !random.chance(ends),
            false => random.chance(begins),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAMES: usize = 200_000;

    fn lost(loss: Loss) -> Vec<bool> {
        let (mut losses, mut random) = (Losses::default(), Random::new(7));
        (0..FRAMES).map(|_| losses.takes(loss, &mut random)).collect()
    }

    fn share(lost: &[bool]) -> f64 {
        lost.iter().filter(|lost| **lost).count() as f64 / lost.len() as f64
    }

    /// Mean number of lost frames in a row.
    fn mean_burst(lost: &[bool]) -> f64 {
        let begins = lost.windows(2).filter(|pair| !pair[0] && pair[1]).count();
        lost.iter().filter(|lost| **lost).count() as f64 / begins as f64
    }

    #[test]
    fn nothing_is_lost_on_a_clear_way() {
        assert_eq!(share(&lost(Loss::None)), 0.0);
    }

    #[test]
    fn independent_losses_have_their_share_and_no_bursts() {
        let lost = lost(Loss::Independent(0.2));
        assert!((share(&lost) - 0.2).abs() < 0.01, "{}", share(&lost));
        // A run of losses has 1/(1 - 0.2) frames by chance alone.
        assert!((mean_burst(&lost) - 1.25).abs() < 0.05, "{}", mean_burst(&lost));
    }

    #[test]
    fn bursty_losses_have_the_share_and_the_length_asked_for() {
        for (mean, burst) in [(0.02, 5.0), (0.1, 20.0), (0.5, 3.0)] {
            let lost = lost(Loss::Bursty { mean, burst });
            assert!((share(&lost) / mean - 1.0).abs() < 0.15, "{}", share(&lost));
            assert!(
                (mean_burst(&lost) / burst - 1.0).abs() < 0.15,
                "{}",
                mean_burst(&lost)
            );
        }
    }
}
