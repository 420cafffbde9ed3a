//! Amounts of bytes as people write them: `1MiB`, `64KiB`, `512MB`, `1024`.
//!
//! `KiB MiB GiB TiB` are powers of 1024, `KB MB GB TB` powers of 1000; a bare number is bytes.

/// An amount of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

const UNITS: [(&str, u64); 9] = [
    ("tib", 1 << 40),
    ("gib", 1 << 30),
    ("mib", 1 << 20),
    ("kib", 1 << 10),
    ("tb", 1_000_000_000_000),
    ("gb", 1_000_000_000),
    ("mb", 1_000_000),
    ("kb", 1_000),
    ("b", 1),
];

impl ByteSize {
    /// `n` × 1024 bytes.
    #[must_use]
    pub const fn kib(n: u64) -> Self {
        Self(n << 10)
    }

    /// `n` × 1024 × 1024 bytes.
    #[must_use]
    pub const fn mib(n: u64) -> Self {
        Self(n << 20)
    }

    /// The amount in bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// Reads an amount.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let number = number.replace('_', "");
        if number.is_empty() {
            return Err(format!("`{text}` is not a size; write it like \"1MiB\" or \"64KiB\""));
        }
        let unit = unit.trim().to_ascii_lowercase();
        let factor = if unit.is_empty() {
            1
        } else {
            match UNITS.iter().find(|(name, _)| *name == unit) {
                Some((_, factor)) => *factor,
                None => return Err(format!("`{unit}` is not a unit of size; use KiB, MiB, GiB, KB, MB, GB or B")),
            }
        };
        number
            .parse::<u64>()
            .ok()
            .and_then(|n| n.checked_mul(factor))
            .map(Self)
            .ok_or_else(|| format!("`{text}` is too large"))
    }
}

impl std::fmt::Display for ByteSize {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (unit, factor) in [("GiB", 1u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
            if self.0 >= factor && self.0.is_multiple_of(factor) {
                return write!(f, "{}{unit}", self.0 / factor);
            }
        }
        write!(f, "{}B", self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn binary_and_decimal_units_differ() {
        assert_eq!(ByteSize::parse("1MiB").unwrap(), ByteSize(1_048_576));
        assert_eq!(ByteSize::parse("1 MB").unwrap(), ByteSize(1_000_000));
        assert_eq!(ByteSize::parse("16_384").unwrap(), ByteSize(16_384));
    }

    #[test]
    fn what_is_not_a_size_is_refused_with_the_reason() {
        assert!(ByteSize::parse("big").unwrap_err().contains("not a size"));
        assert!(ByteSize::parse("1 parsec").unwrap_err().contains("not a unit"));
        assert!(ByteSize::parse("99999999999TiB").unwrap_err().contains("too large"));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(bytes in any::<u64>()) {
            prop_assert_eq!(ByteSize::parse(&ByteSize(bytes).to_string()).unwrap(), ByteSize(bytes));
        }
    }
}
