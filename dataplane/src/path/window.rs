//! Counts over the last 10 s, minute and five minutes.

use std::time::{Duration, Instant};

/// How far back to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// Ten seconds, in steps of one.
    TenSeconds,
    /// One minute, in steps of ten seconds.
    Minute,
    /// Five minutes, in steps of ten seconds.
    FiveMinutes,
}

impl Window {
    /// All of them, shortest first.
    pub const ALL: [Window; 3] = [Window::TenSeconds, Window::Minute, Window::FiveMinutes];

    /// Whole steps that it is long.
    const fn steps(self) -> u32 {
        match self {
            Window::TenSeconds => 10,
            Window::Minute => 6,
            Window::FiveMinutes => 30,
        }
    }
}

/// A `T` for each step of time: whole steps, and the one that is being filled. Takes no memory before the first count.
#[derive(Clone, Debug)]
struct Ring<T> {
    step: Duration,
    len: usize,
    slots: Vec<(u32, T)>,
}

impl<T: Copy + Default> Ring<T> {
    fn new(step: Duration, steps: u32) -> Ring<T> {
        Ring {
            step,
            len: steps as usize + 1,
            slots: Vec::new(),
        }
    }

    fn tick(&self, age: Duration) -> u32 {
        (age.as_millis() / self.step.as_millis().max(1)) as u32
    }

    fn slot(&mut self, age: Duration) -> &mut T {
        let tick = self.tick(age);
        self.slots.resize(self.len, (0, T::default()));
        let slot = &mut self.slots[tick as usize % self.len];
        if slot.0 != tick {
            *slot = (tick, T::default());
        }
        &mut slot.1
    }

    fn last(&self, steps: u32, age: Duration) -> impl Iterator<Item = &T> {
        let oldest = self.tick(age).saturating_sub(steps);
        self.slots
            .iter()
            .filter(move |(tick, _)| *tick >= oldest)
            .map(|(_, count)| count)
    }
}

/// Counts by time.
#[derive(Clone, Debug)]
pub struct Windows<T> {
    start: Instant,
    seconds: Ring<T>,
    tens: Ring<T>,
}

impl<T: Copy + Default> Windows<T> {
    /// Nothing counted yet.
    pub fn new(start: Instant) -> Windows<T> {
        Windows {
            start,
            seconds: Ring::new(Duration::from_secs(1), Window::TenSeconds.steps()),
            tens: Ring::new(Duration::from_secs(10), Window::FiveMinutes.steps()),
        }
    }

    /// Counts something that happens now.
    pub fn count(&mut self, now: Instant, mut add: impl FnMut(&mut T)) {
        let age = now.saturating_duration_since(self.start);
        add(self.seconds.slot(age));
        add(self.tens.slot(age));
    }

    /// What was counted in a window.
    pub fn last(&self, window: Window, now: Instant) -> impl Iterator<Item = &T> {
        let ring = match window {
            Window::TenSeconds => &self.seconds,
            Window::Minute | Window::FiveMinutes => &self.tens,
        };
        ring.last(window.steps(), now.saturating_duration_since(self.start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_window_forgets_in_its_own_time() {
        #[expect(clippy::disallowed_methods, reason = "a test's first instant")]
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        let mut windows: Windows<u32> = Windows::new(start);
        let sum = |windows: &Windows<u32>, s| Window::ALL.map(|w| windows.last(w, at(s)).sum::<u32>());
        assert_eq!(sum(&windows, 5), [0; 3]);
        windows.count(at(1), |n| *n += 1);
        windows.count(at(11), |n| *n += 2);
        assert_eq!(sum(&windows, 11), [3; 3]);
        assert_eq!(sum(&windows, 12), [2, 3, 3]);
        assert_eq!(sum(&windows, 69), [0, 3, 3]);
        assert_eq!(sum(&windows, 71), [0, 2, 3]);
        assert_eq!(sum(&windows, 320), [0, 0, 0]);
    }
}
