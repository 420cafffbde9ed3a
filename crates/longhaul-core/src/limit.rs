//! Limits of a kind: how many of its jobs run at once, and how many start in a time; of all of them, or of those whose
//! input has the same value somewhere.
//!
//! Everything here is arithmetic over what it is given: how many run, what has started ([`Pace`]), and the time. Who
//! counts, and under which lock, is the store's business. Two things hold whatever happens: in no window of a rate's
//! length do more attempts start than it allows, and what is remembered of a window is of bounded size. The price is that
//! a start counts up to 1/64 of the window longer than it had to.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{KindName, Span, Tenant, Timestamp};

/// Into how many slices the window of a rate is cut. What is remembered of a window is one number for each.
const SLICES: i64 = 64;

/// The longest window of a rate, in seconds: a day.
pub const RATE_PER_MOST_S: u32 = 86_400;

/// The most that a limit can allow: above a million it limits nothing.
pub const LIMIT_MOST: u32 = 1_000_000;

/// The longest pointer to a key, in bytes.
const POINTER_MOST: usize = 200;

/// A limit as it is registered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// JSON Pointer (RFC 6901) into the input: those jobs are limited together that have the same value there. None: all
    /// jobs of the kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// How many of them run at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// How many attempts of them start in a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
}

/// At most `count` starts in any `per_s` seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// How many.
    pub count: u32,
    /// In how many seconds.
    pub per_s: u32,
}

impl Rate {
    fn per(self) -> Span {
        Span::from_secs(u64::from(self.per_s.max(1)))
    }

    fn slice_micros(self) -> i64 {
        i64::from(self.per_s.max(1)) * 1_000_000 / SLICES
    }
}

/// What is wrong with a limit, at which of its fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitFlaw {
    /// Which of the limits, from 0.
    pub index: usize,
    /// JSON Pointer from the limit on.
    pub pointer: &'static str,
    /// In a sentence that follows the name of the field.
    pub message: String,
}

/// What is wrong with the limits of a kind; nothing, when they can be used. There is at most one over all of a kind's
/// jobs, and at most one by key.
pub fn check_limits(limits: &[Limit]) -> Vec<LimitFlaw> {
    let mut flaws = Vec::new();
    for (index, limit) in limits.iter().enumerate() {
        let mut wrong = |pointer, message: String| flaws.push(LimitFlaw { index, pointer, message });
        if limits.iter().take(index).any(|other| other.key.is_some() == limit.key.is_some()) {
            let which = if limit.key.is_some() { "with a `key`" } else { "without a `key`" };
            wrong("", format!("is the second {which}; a kind has at most one over all of its jobs and one by key"));
        }
        if limit.concurrency.is_none() && limit.rate.is_none() {
            wrong("", "limits nothing: give `concurrency`, `rate` or both".into());
        }
        if limit.concurrency.is_some_and(|most| !(1..=LIMIT_MOST).contains(&most)) {
            wrong("/concurrency", format!("must be from 1 to {LIMIT_MOST}"));
        }
        if let Some(rate) = limit.rate {
            if !(1..=LIMIT_MOST).contains(&rate.count) {
                wrong("/rate/count", format!("must be from 1 to {LIMIT_MOST}"));
            }
            if !(1..=RATE_PER_MOST_S).contains(&rate.per_s) {
                wrong("/rate/per_s", format!("must be from 1 second to a day, {RATE_PER_MOST_S}"));
            }
        }
        if let Some(key) = &limit.key
            && (!key.starts_with('/') || key.len() > POINTER_MOST)
        {
            let form = "must be a JSON Pointer into the input, such as \"/customer\"";
            wrong("/key", format!("{form}, of at most {POINTER_MOST} bytes"));
        }
    }
    flaws
}

/// How many may run at once and start in a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bound {
    /// How many at once.
    pub concurrency: Option<u32>,
    /// How many in a time.
    pub rate: Option<Rate>,
}

/// The limits of a kind, sorted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Limits {
    /// Of all its jobs.
    pub overall: Option<Bound>,
    /// Of those with one key, and where that stands in their inputs.
    pub by_key: Option<(Box<str>, Bound)>,
}

impl Limits {
    /// Sorts limits that have been checked.
    pub fn of(limits: &[Limit]) -> Self {
        let mut sorted = Self::default();
        for limit in limits {
            let bound = Bound { concurrency: limit.concurrency, rate: limit.rate };
            match &limit.key {
                Some(key) => sorted.by_key = Some((key.as_str().into(), bound)),
                None => sorted.overall = Some(bound),
            }
        }
        sorted
    }

    /// Whether nothing is limited.
    pub fn is_empty(&self) -> bool {
        self.overall.is_none() && self.by_key.is_none()
    }

    /// The key of a job with this input, a JSON text; none when nothing is limited by key.
    pub fn key_of(&self, tenant: &Tenant, kind: &KindName, input: &[u8]) -> Option<LimitKey> {
        let (pointer, _) = self.by_key.as_ref()?;
        Some(LimitKey::of(tenant, kind, pointer, input))
    }
}

/// What stands for the jobs that are limited together. Sixty-four bits of a hash: keys are as long as they like, and
/// nobody can choose one that meets another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LimitKey(pub i64);

impl LimitKey {
    /// Of the jobs whose inputs have the same value at `pointer`. Those that have none there are limited together, as if
    /// it were null.
    pub fn of(tenant: &Tenant, kind: &KindName, pointer: &str, input: &[u8]) -> Self {
        let input: Option<serde_json::Value> = serde_json::from_slice(input).ok();
        let value = input.as_ref().and_then(|input| input.pointer(pointer)).unwrap_or(&serde_json::Value::Null);
        Self::hash(&["key", tenant, kind, pointer, &value.to_string()])
    }

    /// Of all jobs of a kind: of one tenant, or of everybody.
    pub fn of_kind(tenant: Option<&Tenant>, kind: &KindName) -> Self {
        match tenant {
            Some(tenant) => Self::hash(&["kind", tenant, kind]),
            None => Self::hash(&["kind", kind]),
        }
    }

    fn hash(parts: &[&str]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
        let mut first = [0; 8];
        first.iter_mut().zip(hash.finalize()).for_each(|(to, from)| *to = from);
        Self(i64::from_le_bytes(first))
    }
}

/// Why nothing may start now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// As many run as may.
    Concurrency {
        /// How many do.
        running: u32,
        /// How many may.
        limit: u32,
    },
    /// As many have started as may.
    Rate {
        /// The limit.
        rate: Rate,
        /// When the next may start.
        until: Timestamp,
    },
}

impl Bound {
    /// How many may start now.
    pub fn room(&self, running: u32, pace: &Pace, now: Timestamp) -> u32 {
        let places = self.concurrency.map_or(u32::MAX, |most| most.saturating_sub(running));
        let starts = self.rate.map_or(u32::MAX, |rate| rate.count.saturating_sub(pace.counted(rate, now)));
        places.min(starts)
    }

    /// Why nothing may start; none: something may. A rate is named first, because it says until when.
    pub fn full(&self, running: u32, pace: &Pace, now: Timestamp) -> Option<Full> {
        if let Some(rate) = self.rate
            && let Some(until) = pace.opens_at(rate, now)
        {
            return Some(Full::Rate { rate, until });
        }
        let limit = self.concurrency.filter(|most| running >= *most)?;
        Some(Full::Concurrency { running, limit })
    }
}

/// What has started of late under a rate: how many in each slice of the window.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pace {
    /// The end of each slice in which something started, in microseconds since 1970, and how much. In order.
    starts: VecDeque<(i64, u32)>,
}

impl Pace {
    /// The end of the slice that now is in.
    fn end_of_slice(rate: Rate, now: Timestamp) -> i64 {
        (now.as_micros().div_euclid(rate.slice_micros()) + 1).saturating_mul(rate.slice_micros())
    }

    /// Makes good for a clock that was set back: whatever it said then, all of it began before now. True: it has been,
    /// and what is kept should be stored anew, or it is made good from each moment again.
    pub fn settle(&mut self, rate: Rate, now: Timestamp) -> bool {
        let end = Self::end_of_slice(rate, now);
        let is_ahead = self.starts.back().is_some_and(|(at, _)| *at > end);
        if is_ahead {
            self.starts.iter_mut().for_each(|(at, _)| *at = (*at).min(end));
        }
        is_ahead
    }

    /// Counts one start.
    pub fn start(&mut self, rate: Rate, now: Timestamp) {
        self.settle(rate, now);
        let (end, per) = (Self::end_of_slice(rate, now), i64::from(rate.per_s.max(1)) * 1_000_000);
        while self.starts.front().is_some_and(|(at, _)| at.saturating_add(per) <= now.as_micros()) {
            self.starts.pop_front();
        }
        match self.starts.back_mut() {
            Some((at, count)) if *at == end => *count = count.saturating_add(1),
            _ => self.starts.push_back((end, 1)),
        }
        // A window that was longer before leaves more slices than this one has.
        while self.starts.len() > SLICES as usize + 2
            && let Some((_, count)) = self.starts.pop_front()
            && let Some((_, next)) = self.starts.front_mut()
        {
            *next = next.saturating_add(count);
        }
    }

    /// How many starts count now.
    pub fn counted(&self, rate: Rate, now: Timestamp) -> u32 {
        self.counting(rate, now).fold(0, |sum: u32, (_, count)| sum.saturating_add(count))
    }

    /// Those that count now: when each ends to count, and how many.
    fn counting(&self, rate: Rate, now: Timestamp) -> impl Iterator<Item = (Timestamp, u32)> + '_ {
        let until = move |at: i64| Timestamp::from_micros(at) + rate.per();
        self.starts.iter().map(move |(at, count)| (until(*at), *count)).filter(move |(until, _)| *until > now)
    }

    /// When something may start again; none: now.
    pub fn opens_at(&self, rate: Rate, now: Timestamp) -> Option<Timestamp> {
        let mut left = self.counted(rate, now);
        if left < rate.count {
            return None;
        }
        for (until, count) in self.counting(rate, now) {
            left = left.saturating_sub(count);
            if left < rate.count {
                return Some(until);
            }
        }
        // A rate of nothing at all, which is not let through.
        Some(now + rate.per())
    }

    /// From when on nothing of it counts.
    pub fn over_at(&self, rate: Rate) -> Timestamp {
        self.starts.back().map_or(Timestamp::EPOCH, |(at, _)| Timestamp::from_micros(*at) + rate.per())
    }

    /// As it is stored.
    pub fn to_bytes(&self) -> Vec<u8> {
        let parts = self.starts.iter().flat_map(|(at, count)| at.to_le_bytes().into_iter().chain(count.to_le_bytes()));
        parts.collect()
    }

    /// From what was stored; none when that is damaged.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (parts, rest) = bytes.as_chunks::<12>();
        let start = |part: &[u8; 12]| {
            let (at, count) = part.split_at(8);
            Some((i64::from_le_bytes(at.try_into().ok()?), u32::from_le_bytes(count.try_into().ok()?)))
        };
        let starts = parts.iter().map(start).collect::<Option<VecDeque<_>>>()?;
        rest.is_empty().then_some(Self { starts })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_micros(1_700_000_000_000_000 + micros)
    }

    proptest! {
        #[test]
        fn in_no_window_start_more_than_the_rate_allows(
            count in 1_u32..20, per_s in 1_u32..100, gaps in prop::collection::vec(0_i64..3_000_000, 1..400),
        ) {
            let rate = Rate { count, per_s };
            let (mut pace, mut now, mut starts) = (Pace::default(), 0, Vec::new());
            for gap in gaps {
                now += gap;
                // Kept and read back, as by a server that is started again.
                pace = Pace::from_bytes(&pace.to_bytes()).unwrap();
                prop_assert_eq!(pace.opens_at(rate, at(now)).is_none(), pace.counted(rate, at(now)) < count);
                if pace.opens_at(rate, at(now)).is_none() {
                    pace.start(rate, at(now));
                    starts.push(now);
                }
            }
            let per = i64::from(per_s) * 1_000_000;
            for window in starts.windows(count as usize + 1) {
                prop_assert!(window[count as usize] - window[0] >= per, "{window:?}");
            }
            prop_assert!(pace.to_bytes().len() <= 12 * 66);
        }

        #[test]
        fn what_is_full_opens_at_the_time_that_it_names_and_not_before(
            count in 1_u32..20, per_s in 1_u32..100, gaps in prop::collection::vec(0_i64..500_000, 1..100),
        ) {
            let rate = Rate { count, per_s };
            let (mut pace, mut now) = (Pace::default(), 0);
            for gap in gaps {
                now += gap;
                if let Some(until) = pace.opens_at(rate, at(now)) {
                    prop_assert!(pace.opens_at(rate, until - Span::from_micros(1)).is_some());
                    prop_assert!(pace.opens_at(rate, until).is_none());
                    // No more than a slice later than it had to.
                    let late = Span::from_secs(u64::from(per_s)).as_micros() * 65 / 64 + 1;
                    prop_assert!(until.since(at(now)).as_micros() <= late);
                } else {
                    pace.start(rate, at(now));
                }
            }
        }
    }

    #[test]
    fn a_full_rate_is_used_whole() {
        let (rate, mut pace) = (Rate { count: 10, per_s: 1 }, Pace::default());
        let mut started = 0;
        for micros in (0..10_000_000).step_by(1_000) {
            if pace.opens_at(rate, at(micros)).is_none() {
                pace.start(rate, at(micros));
                started += 1;
            }
        }
        assert!((97..=100).contains(&started), "{started}");
    }

    #[test]
    fn a_clock_that_is_set_back_neither_opens_nor_closes_for_long() {
        let (rate, mut pace) = (Rate { count: 2, per_s: 60 }, Pace::default());
        pace.start(rate, at(3_600_000_000));
        pace.start(rate, at(3_600_000_000));
        assert!(pace.settle(rate, at(0)) && !pace.settle(rate, at(0)));
        let until = pace.opens_at(rate, at(0)).unwrap();
        assert!(until > at(59_000_000) && until < at(62_000_000), "{until}");
        assert_eq!(pace.opens_at(rate, until), None);
    }

    #[test]
    fn keys_are_told_apart_by_tenant_kind_place_and_value() {
        let (a, b) = (Tenant::new("a").unwrap(), Tenant::new("b").unwrap());
        let (one, other) = (KindName::new("one").unwrap(), KindName::new("other").unwrap());
        let key = |tenant: &Tenant, kind: &KindName, pointer: &str, input: &str| {
            LimitKey::of(tenant, kind, pointer, input.as_bytes())
        };
        let known = key(&a, &one, "/c/d", r#"{"c":{"d":"x"},"e":1}"#);
        assert_eq!(known, key(&a, &one, "/c/d", r#"{"e":2,"c":{"f":0,"d":"x"}}"#));
        for different in [
            key(&b, &one, "/c/d", r#"{"c":{"d":"x"}}"#),
            key(&a, &other, "/c/d", r#"{"c":{"d":"x"}}"#),
            key(&a, &one, "/c", r#"{"c":"x"}"#),
            key(&a, &one, "/c/d", r#"{"c":{"d":"y"}}"#),
            key(&a, &one, "/c/d", "{}"),
        ] {
            assert_ne!(known, different);
        }
        assert_eq!(key(&a, &one, "/c", "{}"), key(&a, &one, "/c", r#"{"c":null}"#));
        assert_eq!(key(&a, &one, "/c", "{}"), key(&a, &one, "/c", "[1]"));
    }

    #[test]
    fn what_is_wrong_with_limits_is_named_whole() {
        let limit = |key: Option<&str>, concurrency, rate: Option<(u32, u32)>| Limit {
            key: key.map(Into::into),
            concurrency,
            rate: rate.map(|(count, per_s)| Rate { count, per_s }),
        };
        assert_eq!(check_limits(&[limit(None, Some(1), None), limit(Some("/a"), None, Some((1, 60)))]), []);
        let flaws = check_limits(&[
            limit(None, None, None),
            limit(None, Some(0), Some((0, 86_401))),
            limit(Some("customer"), Some(3), None),
        ]);
        let told: Vec<(usize, &str)> = flaws.iter().map(|flaw| (flaw.index, flaw.pointer)).collect();
        assert_eq!(told, [(0, ""), (1, ""), (1, "/concurrency"), (1, "/rate/count"), (1, "/rate/per_s"), (2, "/key")]);
    }
}
