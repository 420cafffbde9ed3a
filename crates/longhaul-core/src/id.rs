//! Ids: a prefix that says what it names, and a UUIDv7 (RFC 9562) that sorts by time.

use std::{fmt, str::FromStr, sync::Mutex};

use rand::{Rng, SeedableRng, rngs::StdRng};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use uuid::Uuid;

use crate::Timestamp;

/// Where ids, tokens and jitter come from, so that any run can be replayed from a seed.
pub trait IdSource: Send + Sync + fmt::Debug + 'static {
    /// 64 random bits.
    fn random(&self) -> u64;

    /// A fresh UUIDv7 of the time `now`.
    fn uuid(&self, now: Timestamp) -> Uuid {
        let (high, low) = (self.random(), self.random());
        let mut random = [0; 10];
        random[..8].copy_from_slice(&high.to_be_bytes());
        random[8..].copy_from_slice(&low.to_be_bytes()[..2]);
        let millis = u64::try_from(now.as_millis()).unwrap_or(0);
        uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
    }
}

/// The usual [`IdSource`]: a cryptographic generator, seeded by the operating system or by a test.
#[derive(Debug)]
pub struct Ids(Mutex<StdRng>);

impl Ids {
    /// Seeded by the operating system.
    #[allow(clippy::disallowed_methods, reason = "the one place where the operating system is asked for a seed")]
    pub fn from_system() -> Self {
        let mut seed = [0; 32];
        rand::rng().fill_bytes(&mut seed);
        Self(Mutex::new(StdRng::from_seed(seed)))
    }

    /// The same numbers again for the same seed.
    pub fn seeded(seed: u64) -> Self {
        Self(Mutex::new(StdRng::seed_from_u64(seed)))
    }
}

impl IdSource for Ids {
    fn random(&self) -> u64 {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).next_u64()
    }
}

/// Why a text is no id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("is not an id of the form {prefix}_ and 32 hexadecimal digits")]
pub struct IdError {
    /// What the id has to begin with.
    pub prefix: &'static str,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// What every id of this sort begins with, before the underscore.
            pub const PREFIX: &'static str = $prefix;

            /// A fresh id of the time `now`.
            pub fn fresh(ids: &dyn IdSource, now: Timestamp) -> Self {
                Self(ids.uuid(now))
            }

            /// The smallest id that a time can have: for ranges, ids being sorted by time.
            pub fn floor(at: Timestamp) -> Self {
                let millis = u64::try_from(at.as_millis()).unwrap_or(0);
                let mut bytes = [0; 16];
                bytes[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
                Self(Uuid::from_bytes(bytes))
            }

            /// The sixteen bytes that are stored.
            pub fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            /// From the sixteen bytes that were stored.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut buffer = [0; 32];
                f.write_str(concat!($prefix, "_"))?;
                f.write_str(self.0.simple().encode_lower(&mut buffer))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                let refused = IdError { prefix: $prefix };
                let digits = text.strip_prefix(concat!($prefix, "_")).ok_or_else(|| refused.clone())?;
                if digits.len() != 32 {
                    return Err(refused);
                }
                Uuid::try_parse(digits).map(Self).map_err(|_| refused)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }
    };
}

id!(
    /// Names one job.
    JobId, "job"
);
id!(
    /// Names one uploaded document.
    DocumentId, "doc"
);
id!(
    /// Names one API key; not the secret.
    KeyId, "key"
);

/// The right to write for one attempt, as a number that only grows from lease to lease of a job.
///
/// The upper half counts the job's leases, so that the highest token is the newest; the lower half is random, so that a
/// token shown for the wrong job does not fit by chance.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseToken(i64);

impl LeaseToken {
    /// The `count`-th lease of a job; `random` fills the lower half.
    pub const fn new(count: u32, random: u64) -> Self {
        Self(((count as i64 & 0x7fff_ffff) << 32) | (random & 0xffff_ffff) as i64)
    }

    /// How many leases the job had been given with this one.
    pub const fn count(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// As it is stored.
    pub const fn as_i64(self) -> i64 {
        self.0
    }

    /// As it was stored.
    pub const fn from_i64(stored: i64) -> Self {
        Self(stored)
    }
}

impl fmt::Display for LeaseToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lease_{:016x}", self.0)
    }
}

impl fmt::Debug for LeaseToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for LeaseToken {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let refused = IdError { prefix: "lease" };
        let digits = text.strip_prefix("lease_").ok_or_else(|| refused.clone())?;
        i64::from_str_radix(digits, 16).map(Self).map_err(|_| refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_and_a_foreign_prefix_does_not() {
        let id = JobId::fresh(&Ids::seeded(1), Timestamp::from_micros(1_700_000_000_000_000));
        assert_eq!(id.to_string().parse::<JobId>(), Ok(id));
        assert!(id.to_string().parse::<DocumentId>().is_err());
        assert!("job_zz".parse::<JobId>().is_err());
        assert!("job_018bcfe5-6800-7000-8000-000000000000".parse::<JobId>().is_err());
    }

    #[test]
    fn ids_sort_by_time() {
        let ids = Ids::seeded(2);
        let early = JobId::fresh(&ids, Timestamp::from_micros(1_000_000));
        let late = JobId::fresh(&ids, Timestamp::from_micros(2_000_000));
        assert!(early < late);
    }

    #[test]
    fn a_later_lease_has_the_higher_token() {
        assert!(LeaseToken::new(2, 0) > LeaseToken::new(1, u64::MAX));
        let token = LeaseToken::new(7, 0xdead_beef);
        assert_eq!(token.count(), 7);
        assert_eq!(token.to_string().parse::<LeaseToken>(), Ok(token));
    }
}
