//! How long answers are kept, how many, and what may be served when they are old.

use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

/// The settings of a cache. All but the sizes can be changed while it runs ([`CacheHandle::reload`]).
///
/// [`CacheHandle::reload`]: super::CacheHandle::reload
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CachePolicy {
    pub(crate) ttl: Duration,
    pub(crate) max_entries: usize,
    pub(crate) stale_while_revalidate: Duration,
    pub(crate) stale_if_error: Duration,
    pub(crate) degraded_ttl: Option<Duration>,
}

impl Default for CachePolicy {
    /// One hour, 10,000 entries, nothing stale, nothing degraded.
    fn default() -> Self {
        Self {
            ttl: HOUR,
            max_entries: 10_000,
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            degraded_ttl: None,
        }
    }
}

impl CachePolicy {
    /// Answers are fresh for `ttl`.
    pub fn ttl(ttl: Duration) -> Self {
        Self { ttl, ..Self::default() }
    }

    /// At most this many entries; at least one.
    pub fn max_entries(self, max_entries: usize) -> Self {
        Self { max_entries: max_entries.max(1), ..self }
    }

    /// For `window` after its time an answer is still served, while one refresh runs in the background.
    pub fn stale_while_revalidate(self, window: Duration) -> Self {
        Self { stale_while_revalidate: window, ..self }
    }

    /// For `window` after its time an answer is served when the call fails.
    pub fn stale_if_error(self, window: Duration) -> Self {
        Self { stale_if_error: window, ..self }
    }

    /// Keeps degraded answers too, for `ttl`: long enough to take the load off, short enough to recover.
    pub fn degraded_ttl(self, ttl: Duration) -> Self {
        Self { degraded_ttl: Some(ttl), ..self }
    }

    /// How long past its time an entry is worth keeping.
    pub(crate) fn grace(&self) -> Duration {
        self.stale_while_revalidate.max(self.stale_if_error)
    }
}

/// Recommended settings by what is asked. The hit rates are what such traffic usually reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scenario {
    /// Frequently asked questions: 24 hours, 1,000 entries; expect 80 % hits.
    Faq,
    /// Product information: 4 hours, 5,000 entries; expect 60 % hits.
    ProductInfo,
    /// Users' own questions: 1 hour, 10,000 entries; expect 40 % hits.
    UserQuery,
    /// Data of the moment: 5 minutes, 20,000 entries; expect 20 % hits.
    RealTime,
}

impl Scenario {
    /// Every scenario.
    pub const ALL: [Scenario; 4] = [Self::Faq, Self::ProductInfo, Self::UserQuery, Self::RealTime];

    /// The name in configuration files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Faq => "faq",
            Self::ProductInfo => "product-info",
            Self::UserQuery => "user-query",
            Self::RealTime => "real-time",
        }
    }

    /// The scenario of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scenario| scenario.name() == name)
    }

    /// The settings.
    pub fn policy(self) -> CachePolicy {
        let (ttl, max_entries) = match self {
            Self::Faq => (24 * HOUR, 1_000),
            Self::ProductInfo => (4 * HOUR, 5_000),
            Self::UserQuery => (HOUR, 10_000),
            Self::RealTime => (Duration::from_secs(300), 20_000),
        };
        CachePolicy::ttl(ttl).max_entries(max_entries)
    }

    /// The part of calls that such traffic usually finds in the cache, 0 to 1.
    pub const fn expected_hit_rate(self) -> f64 {
        match self {
            Self::Faq => 0.8,
            Self::ProductInfo => 0.6,
            Self::UserQuery => 0.4,
            Self::RealTime => 0.2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn every_setting_is_kept_beside_the_others() {
        let policy = CachePolicy::ttl(secs(1))
            .max_entries(2)
            .stale_while_revalidate(secs(3))
            .stale_if_error(secs(4))
            .degraded_ttl(secs(5));
        assert_eq!((policy.ttl, policy.max_entries), (secs(1), 2));
        assert_eq!((policy.stale_while_revalidate, policy.stale_if_error), (secs(3), secs(4)));
        assert_eq!((policy.degraded_ttl, policy.grace()), (Some(secs(5)), secs(4)));
        assert_eq!(policy.stale_while_revalidate(secs(9)).grace(), secs(9), "the longer of both");
    }

    #[test]
    fn scenarios_have_their_names_and_numbers() {
        let numbers = Scenario::ALL.map(|scenario| {
            assert_eq!(Scenario::from_name(scenario.name()), Some(scenario));
            let policy = scenario.policy();
            (scenario.name(), policy.ttl.as_secs(), policy.max_entries, scenario.expected_hit_rate())
        });
        let hour = 3600;
        assert_eq!(
            numbers,
            [
                ("faq", 24 * hour, 1_000, 0.8),
                ("product-info", 4 * hour, 5_000, 0.6),
                ("user-query", hour, 10_000, 0.4),
                ("real-time", 300, 20_000, 0.2)
            ]
        );
        assert_eq!(Scenario::from_name("xyzzy"), None);
    }
}
