//! Lengths of time as people write them: `30s`, `1h30m`, `7d`, `250ms`.
//!
//! Units are `ms`, `s`, `m`, `h` and `d`, largest first, each at most once. A bare number is refused on purpose: nobody
//! remembers which unit it was meant in. [`format`] writes what [`parse`] reads, so that an effective value that is
//! printed can be pasted back into a file.

use std::time::Duration;

const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Reads a length of time.
///
/// # Errors
/// A sentence that says what is wrong with the text: empty, no unit, unknown unit, units out of order, or too long.
pub fn parse(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("is empty; write a number and a unit, such as \"30s\" or \"1h30m\"".to_owned());
    }
    let mut rest = text;
    let mut total_ms: u64 = 0;
    let mut next_unit = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        if number.is_empty() {
            return Err(format!("`{text}` is not a length of time; write it like \"30s\", \"1h30m\" or \"7d\""));
        }
        let letters = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, tail) = after.split_at(letters);
        if unit.is_empty() {
            return Err(format!("`{text}` needs a unit after {number}: ms, s, m, h or d"));
        }
        let Some(position) = UNITS.iter().position(|(name, _)| *name == unit) else {
            return Err(format!("`{unit}` is not a unit of time; the units are ms, s, m, h and d"));
        };
        if position < next_unit {
            return Err(format!("`{text}` must name each unit once, the largest first, such as \"1h30m\""));
        }
        next_unit = position + 1;
        total_ms = number
            .parse::<u64>()
            .ok()
            .and_then(|n| n.checked_mul(UNITS[position].1))
            .and_then(|ms| total_ms.checked_add(ms))
            .ok_or_else(|| format!("`{text}` is too long"))?;
        rest = tail;
    }
    Ok(Duration::from_millis(total_ms))
}

/// Writes a length of time in the form that [`parse`] reads; what is below a millisecond is dropped.
#[must_use]
pub fn format(duration: Duration) -> String {
    let mut left = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (unit, ms) in UNITS {
        let count = left / ms;
        left %= ms;
        if count > 0 {
            text.push_str(&format!("{count}{unit}"));
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn units_add_up() {
        assert_eq!(parse("1h30m").unwrap(), Duration::from_secs(5_400));
        assert_eq!(parse("7d").unwrap(), Duration::from_secs(604_800));
        assert_eq!(parse("250ms").unwrap(), Duration::from_millis(250));
    }

    #[test]
    fn what_is_not_a_length_of_time_is_refused_with_the_reason() {
        assert!(parse("30").unwrap_err().contains("needs a unit"));
        assert!(parse("3 weeks").unwrap_err().contains("needs a unit"));
        assert!(parse("3w").unwrap_err().contains("not a unit"));
        assert!(parse("30m1h").unwrap_err().contains("largest first"));
        assert!(parse("-1s").unwrap_err().contains("not a length"));
        assert!(parse("99999999999999999999d").unwrap_err().contains("too long"));
        assert!(parse("").unwrap_err().contains("empty"));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(ms in 0u64..10_000_000_000) {
            let duration = Duration::from_millis(ms);
            prop_assert_eq!(parse(&format(duration)).unwrap(), duration);
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,40}") {
            let _ = parse(&text);
        }
    }
}
