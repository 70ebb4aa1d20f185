//! Durations as people write and read them: `90s`, `1h30m`, `7d`; `2h 5m`, `12.4 ms`.

use std::time::Duration;

const UNITS: [(&str, u64); 6] = [
    ("y", 365 * 86_400),
    ("w", 7 * 86_400),
    ("d", 86_400),
    ("h", 3_600),
    ("m", 60),
    ("s", 1),
];

/// Reads `30m`, `24h`, `7d`, `1h30m`, a year as `1y`; at most ten years, more than zero.
pub fn parse(text: &str) -> Result<Duration, String> {
    let wanted = || format!("`{text}` is no duration: write it like 30m, 24h, 7d or 1h30m");
    let mut rest = text.trim();
    let mut seconds = 0_u64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wanted)?;
        let count: u64 = rest[..digits].parse().map_err(|_| wanted())?;
        let unit = rest[digits..].chars().next().ok_or_else(wanted)?;
        let scale = UNITS
            .iter()
            .find(|(name, _)| name.chars().eq([unit]))
            .ok_or_else(wanted)?
            .1;
        seconds = count
            .checked_mul(scale)
            .and_then(|part| seconds.checked_add(part))
            .ok_or_else(wanted)?;
        rest = &rest[digits + unit.len_utf8()..];
    }
    match seconds {
        0 => Err(wanted()),
        seconds if seconds > 10 * 365 * 86_400 => Err(format!("`{text}` is longer than ten years")),
        seconds => Ok(Duration::from_secs(seconds)),
    }
}

/// The two largest units: `3d 4h`, `2h 5m`, `12s`.
pub fn coarse(seconds: u64) -> String {
    let mut parts = Vec::new();
    let mut rest = seconds;
    for (name, scale) in UNITS.iter().filter(|(name, _)| *name != "w") {
        if rest >= *scale {
            parts.push(format!("{}{name}", rest / scale));
            rest %= scale;
        } else if !parts.is_empty() {
            break;
        }
        if parts.len() == 2 {
            break;
        }
    }
    if parts.is_empty() {
        "0s".to_owned()
    } else {
        parts.join(" ")
    }
}

/// A time to come, to the nearest unit that matters: `365d`, `24h`, `90m`.
pub fn about(seconds: u64) -> String {
    let (scale, name) = match seconds {
        seconds if seconds >= 2 * 86_400 => (86_400, "d"),
        seconds if seconds >= 2 * 3_600 => (3_600, "h"),
        seconds if seconds >= 120 => (60, "m"),
        _ => (1, "s"),
    };
    format!("{}{name}", (seconds + scale / 2) / scale)
}

/// How long ago, for things that happen often: `3s ago`; `never` without one.
pub fn ago(seconds: Option<f64>) -> String {
    match seconds {
        Some(seconds) if seconds < 1.0 => "now".to_owned(),
        Some(seconds) => format!("{} ago", coarse(seconds as u64)),
        None => "never".to_owned(),
    }
}

/// Milliseconds with the digits that matter: `0.42 ms`, `12.4 ms`, `184 ms`.
pub fn millis(milliseconds: f64) -> String {
    match milliseconds {
        ms if ms < 10.0 => format!("{ms:.2} ms"),
        ms if ms < 100.0 => format!("{ms:.1} ms"),
        ms => format!("{ms:.0} ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_people_write_them() {
        assert_eq!(parse("30m"), Ok(Duration::from_secs(1_800)));
        assert_eq!(parse("1h30m"), Ok(Duration::from_secs(5_400)));
        assert_eq!(parse("7d"), Ok(Duration::from_secs(604_800)));
        for wrong in [
            "",
            "0s",
            "24",
            "h",
            "1.5h",
            "-1h",
            "5 apples",
            "99999999999999999999s",
            "11y",
            "1µ",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn coarse_shows_the_two_largest_units() {
        assert_eq!(coarse(0), "0s");
        assert_eq!(coarse(59), "59s");
        assert_eq!(coarse(7_500), "2h 5m");
        assert_eq!(coarse(3_605), "1h");
        assert_eq!(coarse(400 * 86_400), "1y 35d");
    }

    #[test]
    fn what_is_to_come_is_rounded() {
        assert_eq!(about(365 * 86_400 - 600), "365d");
        assert_eq!(about(86_400 - 1), "24h");
        assert_eq!(about(5_400), "90m");
        assert_eq!(about(30), "30s");
    }

    #[test]
    fn round_trips_show_three_digits() {
        assert_eq!(millis(0.417), "0.42 ms");
        assert_eq!(millis(12.44), "12.4 ms");
        assert_eq!(millis(183.6), "184 ms");
    }
}
