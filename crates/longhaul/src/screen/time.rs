//! Times as people say them: `3s ago`, `in 5m`.

use std::time::Duration;

use jiff::Timestamp;

/// How far a time is from `now`. What cannot be read as a time is shown as it is.
#[must_use]
pub fn relative(time: &str, now: Timestamp) -> String {
    let Ok(time) = time.parse::<Timestamp>() else {
        return time.to_owned();
    };
    let ms = now.as_millisecond().saturating_sub(time.as_millisecond());
    let distance = span(Duration::from_millis(ms.unsigned_abs()));
    match ms {
        -999..=999 => "now".to_owned(),
        ms if ms > 0 => format!("{distance} ago"),
        _ => format!("in {distance}"),
    }
}

/// A length of time in its one or two largest units: `340ms`, `12s`, `5m 3s`, `2h 10m`, `3d 4h`.
#[must_use]
pub fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let two = |large: u64, large_unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{large}{large_unit}"),
        small => format!("{large}{large_unit} {small}{small_unit}"),
    };
    match seconds {
        0 => format!("{}ms", duration.as_millis()),
        1..60 => format!("{seconds}s"),
        60..3_600 => two(seconds / 60, "m", seconds % 60, "s"),
        3_600..86_400 => two(seconds / 3_600, "h", seconds % 3_600 / 60, "m"),
        _ => two(seconds / 86_400, "d", seconds % 86_400 / 3_600, "h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_said_from_now() {
        let now: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        assert_eq!(relative("2026-01-02T03:03:02Z", now), "1m 3s ago");
        assert_eq!(relative("2026-01-05T04:04:05Z", now), "in 3d 1h");
        assert_eq!(relative("2026-01-02T03:04:05.5Z", now), "now");
        assert_eq!(relative("soon", now), "soon");
    }

    #[test]
    fn spans_name_at_most_two_units() {
        assert_eq!(span(Duration::from_millis(340)), "340ms");
        assert_eq!(span(Duration::from_secs(7_200)), "2h");
        assert_eq!(span(Duration::from_secs(90_061)), "1d 1h");
    }
}
