//! W3C Trace Context: the `traceparent` header, read by the letter of the recommendation.

use std::fmt;

use http::HeaderMap;

/// Where a request stands in a distributed trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceParent {
    /// The whole trace; never zero.
    pub trace_id: u128,
    /// The caller's part of it; never zero.
    pub parent_id: u64,
    /// Bit 0: the caller records this trace.
    pub flags: u8,
}

impl TraceParent {
    /// Reads the header's value. `None` for anything that the recommendation calls invalid: the trace then begins
    /// anew. A version above 00 is read as far as 00 reaches.
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
        let parent_id = u64::try_from(hex(&value[36..52])?).ok()?;
        let flags = u8::try_from(hex(&value[53..55])?).ok()?;
        (trace_id != 0 && parent_id != 0).then_some(Self { trace_id, parent_id, flags })
    }

    /// Reads a request's header; a request with several has none.
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all("traceparent").iter();
        match (values.next(), values.next()) {
            (Some(value), None) => Self::parse(value.to_str().ok()?),
            _ => None,
        }
    }

    /// Whether the caller records this trace.
    pub const fn is_sampled(self) -> bool {
        self.flags & 1 == 1
    }
}

const LENGTH: usize = 55;

/// Lower-case hexadecimal only, as the recommendation demands.
fn hex(text: &str) -> Option<u128> {
    let lower = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if lower { u128::from_str_radix(text, 16).ok() } else { None }
}

/// The header's value, of version 00.
impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.parent_id, self.flags)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_the_recommendation_calls_invalid_is_ignored() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert!(TraceParent::parse(good).is_some_and(TraceParent::is_sampled));
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
            assert_eq!(TraceParent::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        let later = TraceParent::parse("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00-what-comes");
        assert!(later.is_some_and(|trace| !trace.is_sampled()));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(trace_id in 1u128.., parent_id in 1u64.., flags: u8) {
            let trace = TraceParent { trace_id, parent_id, flags };
            prop_assert_eq!(TraceParent::parse(&trace.to_string()), Some(trace));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,80}") {
            let _any = TraceParent::parse(&text);
        }
    }
}
