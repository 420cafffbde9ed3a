//! Characters that a server cut in two.
//!
//! JSON escapes a character beyond the first plane as two numbers. A server that cuts its text between them sends half a
//! character in each of two chunks, and neither can be read.

/// The first half of a character whose second is to come.
#[derive(Debug, Default)]
pub(super) struct Halves(Option<String>);

impl Halves {
    /// A chunk with its halves taken out or put together; one that stays alone is replaced. `None` if there are none.
    pub(super) fn mend(&mut self, data: &str) -> Option<String> {
        let mut mended = String::with_capacity(data.len() + 6);
        let mut before = self.0.take();
        let (mut rest, mut found) = (data, false);
        while let Some(at) = rest.find('\\') {
            let (plain, escape) = rest.split_at(at);
            mended.push_str(plain);
            let begins = mended.ends_with('"');
            let Some(number) = number(escape) else {
                let length = 1 + escape[1..].chars().next().map_or(0, char::len_utf8);
                mended.push_str(&escape[..length]);
                rest = &escape[length..];
                continue;
            };
            let (first, behind) = escape.split_at(6);
            rest = behind;
            match number {
                0xD800..0xDC00 if matches!(self::number(behind), Some(0xDC00..0xE000)) => {
                    mended.push_str(&escape[..12]);
                    rest = &escape[12..];
                }
                0xD800..0xDC00 if behind.starts_with('"') => {
                    found = true;
                    self.0 = Some(first.to_owned());
                }
                0xDC00..0xE000 if begins && before.is_some() => {
                    found = true;
                    mended.push_str(&before.take().unwrap_or_default());
                    mended.push_str(first);
                }
                0xD800..0xE000 => {
                    found = true;
                    mended.push('\u{FFFD}');
                }
                _ => mended.push_str(first),
            }
        }
        mended.push_str(rest);
        found.then_some(mended)
    }
}

/// The number of an escape at the beginning of a text.
fn number(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    digits.bytes().all(|digit| digit.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, 16).ok())?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn halves_are_put_together_and_one_alone_is_replaced() {
        let mut halves = Halves::default();
        assert_eq!(halves.mend(r#"{"a":"x\\ud83c \ud83c\udf88"}"#), None);
        assert_eq!(halves.mend(r#"{"a":"x \ud83c"}"#).as_deref(), Some(r#"{"a":"x "}"#));
        assert_eq!(halves.mend(r#"{"a":"\udf88!"}"#).as_deref(), Some(r#"{"a":"\ud83c\udf88!"}"#));
        assert_eq!(halves.mend(r#"{"a":"\udf88!"}"#).as_deref(), Some("{\"a\":\"\u{FFFD}!\"}"));
    }

    proptest! {
        #[test]
        fn what_was_readable_stays_as_it_is(text in ".{0,30}", numbers in proptest::collection::vec(any::<u16>(), 0..6)) {
            let escaped: String = numbers.iter().map(|number| format!("\\u{number:04x}")).collect();
            let json = format!("{{\"a\":{},\"b\":\"{escaped}\"}}", serde_json::to_string(&text).unwrap());
            let readable = serde_json::from_str::<serde_json::Value>(&json).is_ok();
            match Halves::default().mend(&json) {
                None => prop_assert!(readable),
                Some(mended) => {
                    prop_assert!(!readable);
                    prop_assert!(serde_json::from_str::<serde_json::Value>(&mended).is_ok(), "{mended}");
                }
            }
        }
    }
}
