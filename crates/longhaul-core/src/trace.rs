//! Where a piece of work stands in a distributed trace: W3C Trace Context, read by the letter of the recommendation.
//!
//! A job keeps the context of whoever submitted it, so that a trace outlives the queue, the process and the machine. The
//! ids of the spans that a job and its attempts are told as follow from the job's id and the number of the lease: whoever
//! has to name one (a worker elsewhere, another server, the next process) makes the same, and nothing more is stored.

use std::{fmt, str::FromStr};

use crate::JobId;

/// Where a piece of work stands in a distributed trace.
///
/// ```
/// use longhaul_core::TraceContext;
/// let above: TraceContext = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse().unwrap();
/// assert!(above.is_sampled());
/// assert_eq!(above.within(7).to_string(), "00-0af7651916cd43dd8448eb211c80319c-0000000000000007-01");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceContext {
    /// The whole trace; never zero.
    pub trace_id: u128,
    /// The part of it that what follows belongs to; never zero.
    pub span_id: u64,
    /// Bit 0: this trace is recorded.
    pub flags: u8,
}

/// A text that is no `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is no W3C traceparent such as 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")]
pub struct NoTraceContext;

impl TraceContext {
    /// Reads the value of a `traceparent` header. None for anything that the recommendation calls invalid: the trace then
    /// begins anew. A version above 00 is read as far as 00 reaches.
    pub fn parse(value: &str) -> Option<Self> {
        let bytes = value.as_bytes();
        if !value.is_ascii() || bytes.len() < LENGTH {
            return None;
        }
        let (version, rest) = (hex(&value[0..2])?, &bytes[LENGTH..]);
        let known_length = version == 0 && rest.is_empty();
        let later_version = version != 0 && version != 0xff && (rest.is_empty() || rest[0] == b'-');
        let separated = [2, 35, 52].iter().all(|&at| bytes[at] == b'-');
        if !(known_length || later_version) || !separated {
            return None;
        }
        let trace_id = hex(&value[3..35])?;
        let span_id = u64::try_from(hex(&value[36..52])?).ok()?;
        let flags = u8::try_from(hex(&value[53..55])?).ok()?;
        (trace_id != 0 && span_id != 0).then_some(Self { trace_id, span_id, flags })
    }

    /// Whether this trace is recorded.
    pub const fn is_sampled(self) -> bool {
        self.flags & 1 == 1
    }

    /// The same trace, within the span `span_id`.
    pub const fn within(self, span_id: u64) -> Self {
        Self { span_id: if span_id == 0 { 1 } else { span_id }, ..self }
    }

    /// Within the span that the job is told as.
    pub fn within_job(self, job: JobId) -> Self {
        self.within(span_of(job, 0))
    }

    /// Within the span that an attempt of the job is told as: the one under its `lease`-th lease, from 1.
    pub fn within_attempt(self, job: JobId, lease: u32) -> Self {
        self.within(span_of(job, u64::from(lease)))
    }
}

/// Sixty-four bits that differ for every job and every lease of it, as far as that many bits can.
fn span_of(job: JobId, number: u64) -> u64 {
    let [first, second] = halves(job.as_bytes());
    mix(mix(first) ^ second.wrapping_add(number))
}

fn halves(bytes: &[u8; 16]) -> [u64; 2] {
    let whole = u128::from_be_bytes(*bytes);
    [(whole >> 64) as u64, whole as u64]
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators"): every bit of what
/// goes in moves every bit of what comes out.
const fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

const LENGTH: usize = 55;

/// Lower-case hexadecimal only, as the recommendation demands.
fn hex(text: &str) -> Option<u128> {
    let lower = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if lower { u128::from_str_radix(text, 16).ok() } else { None }
}

/// The header's value, of version 00.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, self.flags)
    }
}

impl FromStr for TraceContext {
    type Err = NoTraceContext;

    fn from_str(text: &str) -> Result<Self, NoTraceContext> {
        Self::parse(text).ok_or(NoTraceContext)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;
    use crate::{Ids, Timestamp};

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn what_the_recommendation_calls_invalid_is_ignored() {
        assert!(TraceContext::parse(GOOD).is_some_and(TraceContext::is_sampled));
        for bad in [
            "",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-extra",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1",
            "00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "+0-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01.extra",
        ] {
            assert_eq!(TraceContext::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        let later = TraceContext::parse("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00-what-comes");
        assert!(later.is_some_and(|trace| !trace.is_sampled()));
    }

    #[test]
    fn every_job_and_every_lease_of_it_has_a_span_of_its_own_and_always_the_same() {
        let (ids, above) = (Ids::seeded(3), TraceContext::parse(GOOD).expect("a context"));
        let mut seen = HashSet::new();
        for _ in 0..1_000 {
            let job = JobId::fresh(&ids, Timestamp::EPOCH);
            let spans = [above.within_job(job), above.within_attempt(job, 1), above.within_attempt(job, 2)];
            assert_eq!(spans[1], above.within_job(job).within_attempt(job, 1), "whoever asks");
            seen.extend(spans.map(|span| span.span_id));
            assert!(spans.iter().all(|span| span.trace_id == above.trace_id && span.is_sampled()));
        }
        assert_eq!(seen.len(), 3_000);
        assert!(!seen.contains(&0));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(trace_id in 1u128.., span_id in 1u64.., flags: u8) {
            let trace = TraceContext { trace_id, span_id, flags };
            prop_assert_eq!(TraceContext::parse(&trace.to_string()), Some(trace));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,80}") {
            let _any = TraceContext::parse(&text);
        }
    }
}
