//! Wall time as the people of this host read it.

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

/// A moment in a time zone.
#[derive(Debug, Clone)]
pub struct LocalTime(Option<Zoned>);

impl LocalTime {
    /// Unix milliseconds in the zone of this host: `TZ`, or /etc/localtime, or UTC.
    pub fn of(unix_ms: u64) -> LocalTime {
        LocalTime::in_zone(unix_ms, TimeZone::system())
    }

    fn in_zone(unix_ms: u64, zone: TimeZone) -> LocalTime {
        let millis = i64::try_from(unix_ms).unwrap_or(i64::MAX);
        LocalTime(
            Timestamp::from_millisecond(millis)
                .ok()
                .map(|at| at.to_zoned(zone)),
        )
    }

    /// `2026-11-21`.
    pub fn day(&self) -> String {
        self.as_text("%Y-%m-%d")
    }

    /// `14:31:07.123`.
    pub fn time(&self) -> String {
        self.as_text("%H:%M:%S%.3f")
    }

    /// Times that no calendar has are shown as what they are.
    fn as_text(&self, format: &str) -> String {
        self.0.as_ref().map_or_else(
            || "(no such time)".to_owned(),
            |at| at.strftime(format).to_string(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_shown_in_the_zone_of_the_host() {
        let summer_night = 1_752_535_867_123;
        let at = |zone: &str| LocalTime::in_zone(summer_night, TimeZone::posix(zone).unwrap());
        assert_eq!(
            at("UTC0").day() + " " + &at("UTC0").time(),
            "2025-07-14 23:31:07.123"
        );
        let berlin = at("CET-1CEST,M3.5.0,M10.5.0/3");
        assert_eq!(berlin.day() + " " + &berlin.time(), "2025-07-15 01:31:07.123");
    }

    #[test]
    fn a_time_outside_every_calendar_is_no_failure() {
        assert_eq!(LocalTime::of(u64::MAX).day(), "(no such time)");
    }
}
