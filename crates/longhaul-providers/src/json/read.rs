//! Reading what clients wrote: field by field, each fault with its place, the rest kept as it stood.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::{Extra, Json};
use crate::facade::RequestError;

/// The fields of one JSON object. What is taken is read; what is left over becomes [`Extra`].
///
/// `null` counts as absent, as it does at the vendors. A name that comes twice is refused: which one counts would be a guess.
pub(crate) struct Fields<'a> {
    path: String,
    entries: Vec<(Cow<'a, str>, &'a RawValue)>,
    put_back: Extra,
}

impl<'a> Fields<'a> {
    /// The object that a whole body is.
    pub(crate) fn of_body(body: &'a [u8]) -> Result<Self, RequestError> {
        let text = std::str::from_utf8(body).map_err(|_| RequestError::body("the body is not UTF-8"))?;
        let entries =
            entries(text).map_err(|error| RequestError::body(format!("the body is not a JSON object: {error}")))?;
        Self { path: String::new(), entries, put_back: Extra::new() }.checked()
    }

    /// The object at a place.
    pub(crate) fn of(raw: &'a RawValue, path: String) -> Result<Self, RequestError> {
        match entries(raw.get()) {
            Ok(entries) => Self { path, entries, put_back: Extra::new() }.checked(),
            Err(_) => Err(RequestError::at(path, "expected an object")),
        }
    }

    fn checked(self) -> Result<Self, RequestError> {
        // Objects here have few names; a quadratic look is cheaper than a set.
        for (at, (name, _)) in self.entries.iter().enumerate() {
            if self.entries[..at].iter().any(|(earlier, _)| earlier == name) {
                return Err(RequestError::at(self.at(name), format!("`{name}` is given twice")));
            }
        }
        Ok(self)
    }

    /// Where a field is.
    pub(crate) fn at(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// Takes a field as it was written.
    pub(crate) fn raw(&mut self, name: &str) -> Option<&'a RawValue> {
        let at = self.entries.iter().position(|(known, _)| known == name)?;
        let (_, raw) = self.entries.remove(at);
        (raw.get() != "null").then_some(raw)
    }

    /// Looks at a text field without taking it.
    pub(crate) fn peek(&self, name: &str) -> Option<Cow<'a, str>> {
        let (_, raw) = self.entries.iter().find(|(known, _)| known == name)?;
        serde_json::from_str::<Text<'a>>(raw.get()).ok().map(|text| text.0)
    }

    /// Looks at a field without taking it.
    pub(crate) fn look(&self, name: &str) -> Option<&'a RawValue> {
        let (_, raw) = self.entries.iter().find(|(known, _)| known == name)?;
        (raw.get() != "null").then_some(raw)
    }

    /// Puts back a field that was read: it will be left over as it now is.
    pub(crate) fn put(&mut self, name: &str, value: Json) {
        self.put_back.insert(name, value);
    }

    /// True if the field is there.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.entries.iter().any(|(known, raw)| known == name && raw.get() != "null")
    }

    /// Takes a field as a type.
    pub(crate) fn take<T: DeserializeOwned>(&mut self, name: &str) -> Result<Option<T>, RequestError> {
        let Some(raw) = self.raw(name) else { return Ok(None) };
        read(raw).map(Some).map_err(|why| RequestError::at(self.at(name), format!("`{}`: {why}", self.at(name))))
    }

    /// Takes a field that must be there.
    pub(crate) fn require<T: DeserializeOwned>(&mut self, name: &str) -> Result<T, RequestError> {
        self.take(name)?.ok_or_else(|| self.missing(name))
    }

    /// Takes a field that must be there, as it was written.
    pub(crate) fn require_raw(&mut self, name: &str) -> Result<&'a RawValue, RequestError> {
        self.raw(name).ok_or_else(|| self.missing(name))
    }

    /// Takes a text that must be there, and may be long.
    pub(crate) fn require_text(&mut self, name: &str) -> Result<String, RequestError> {
        let raw = self.require_raw(name)?;
        text(raw, &self.at(name))
    }

    /// Takes a field that is an object.
    pub(crate) fn object(&mut self, name: &str) -> Result<Option<Fields<'a>>, RequestError> {
        let at = self.at(name);
        self.raw(name).map(|raw| Fields::of(raw, at)).transpose()
    }

    /// Takes a field that is a list, each element with its place.
    pub(crate) fn list(&mut self, name: &str) -> Result<Option<Vec<(&'a RawValue, String)>>, RequestError> {
        let at = self.at(name);
        self.raw(name).map(|raw| list(raw, &at)).transpose()
    }

    /// Takes a field that is a list of objects, each with its own fault if it is none.
    #[allow(clippy::type_complexity, reason = "a list of what may each be at fault")]
    pub(crate) fn objects(
        &mut self,
        name: &str,
    ) -> Result<Option<Vec<Result<Fields<'a>, RequestError>>>, RequestError> {
        let at = self.at(name);
        let Some(raw) = self.raw(name) else { return Ok(None) };
        let of = |entries, index| Self { path: format!("{at}[{index}]"), entries, put_back: Extra::new() }.checked();
        Ok(Some(match serde_json::from_str::<Vec<Entries<'a>>>(raw.get()) {
            Ok(all) => all.into_iter().enumerate().map(|(index, Entries(entries))| of(entries, index)).collect(),
            // Read once more, one by one, to say which is none.
            Err(_) => list(raw, &at)?.into_iter().map(|(raw, at)| Self::of(raw, at)).collect(),
        }))
    }

    /// The fault that a field is not there.
    pub(crate) fn missing(&self, name: &str) -> RequestError {
        let at = self.at(name);
        RequestError::at(at.clone(), format!("`{at}` is required")).code("missing_required_parameter")
    }

    /// A fault of this object.
    pub(crate) fn fault(&self, why: impl fmt::Display) -> RequestError {
        RequestError::at(self.path.clone(), format!("`{}`: {why}", self.path))
    }

    /// Leaves what was not taken to the object that this one, `name`, is a field of: as `name.field`.
    pub(crate) fn leave_within(self, name: &str, extra: &mut Extra) {
        for (field, value) in self.into_extra().iter() {
            extra.insert(format!("{name}.{field}"), value.clone());
        }
    }

    /// Whether nothing is left but `null`.
    pub(crate) fn is_used_up(&self) -> bool {
        self.put_back.is_empty() && self.entries.iter().all(|(_, raw)| raw.get() == "null")
    }

    /// Adds to what was not taken.
    pub(crate) fn put_all(&mut self, extra: Extra) {
        for (name, value) in extra.iter() {
            self.put_back.insert(name, value.clone());
        }
    }

    /// What was not taken.
    pub(crate) fn into_extra(self) -> Extra {
        let mut extra = self.put_back;
        for (name, raw) in self.entries {
            if raw.get() != "null" {
                extra.insert(name, Json::from(raw));
            }
        }
        extra
    }
}

/// The elements of a list, each with its place.
pub(crate) fn list<'a>(raw: &'a RawValue, at: &str) -> Result<Vec<(&'a RawValue, String)>, RequestError> {
    let elements: Vec<&'a RawValue> =
        serde_json::from_str(raw.get()).map_err(|_| RequestError::at(at, format!("`{at}`: expected a list")))?;
    Ok(elements.into_iter().enumerate().map(|(index, raw)| (raw, format!("{at}[{index}]"))).collect())
}

/// A text that may be long, such as a prompt. That it is JSON is known, so what stands between its escapes is copied as it
/// is.
pub(crate) fn text(raw: &RawValue, at: &str) -> Result<String, RequestError> {
    unescaped(raw).map_err(|why| RequestError::at(at, format!("`{at}`: {why}")))
}

fn unescaped(raw: &RawValue) -> Result<String, String> {
    let Some(mut rest) = raw.get().strip_prefix('"').and_then(|json| json.strip_suffix('"')) else {
        return read(raw);
    };
    let mut text = String::with_capacity(rest.len());
    while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
        let (plain, escape) = rest.split_at(at);
        text.push_str(plain);
        text.push(match escape.as_bytes().get(1) {
            Some(b'n') => '\n',
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b't') => '\t',
            Some(b'r') => '\r',
            Some(b'/') => '/',
            // By number, or rare.
            _ => return read(raw),
        });
        rest = &escape[2..];
    }
    text.push_str(rest);
    Ok(text)
}

/// A text or a list of texts.
pub(crate) fn one_or_many(raw: &RawValue, at: &str) -> Result<Vec<String>, RequestError> {
    let read = if raw.get().starts_with('"') { read(raw).map(|one| vec![one]) } else { read(raw) };
    read.map_err(|why| RequestError::at(at, format!("`{at}`: expected a text or a list of texts: {why}")))
}

/// An integer as servers write it: some send `1.0`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Integer(pub(crate) i64);

impl Integer {
    /// As a count: a negative one is none.
    pub(crate) fn count(self) -> u64 {
        u64::try_from(self.0).unwrap_or(0)
    }
}

impl<'de> Deserialize<'de> for Integer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = serde_json::Number::deserialize(deserializer)?;
        // `as` saturates, which is right for what counts nothing real.
        Ok(Self(number.as_i64().unwrap_or_else(|| number.as_f64().unwrap_or_default() as i64)))
    }
}

/// The fields of an object, each on its own; none if it is no object.
pub(super) fn owned_fields(text: &str) -> Vec<(String, Json)> {
    let own = |(name, raw): (Cow<'_, str>, &RawValue)| (name.into_owned(), Json::from(raw));
    entries(text).map(|entries| entries.into_iter().map(own).collect()).unwrap_or_default()
}

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

fn read<T: DeserializeOwned>(raw: &RawValue) -> Result<T, String> {
    serde_json::from_str(raw.get()).map_err(|error| {
        let text = error.to_string();
        // Line and column are of the field alone, so they would mislead.
        text.split(" at line ").next().unwrap_or(&text).to_owned()
    })
}

/// The fields of an object, in their order, those that come twice included.
struct Entries<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Entries<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor)
    }
}

struct EntriesVisitor;

impl<'de> Visitor<'de> for EntriesVisitor {
    type Value = Entries<'de>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some((Text(name), value)) = map.next_entry::<Text<'de>, &'de RawValue>()? {
            entries.push((name, value));
        }
        Ok(Entries(entries))
    }
}

fn entries(text: &str) -> Result<Vec<(Cow<'_, str>, &RawValue)>, serde_json::Error> {
    serde_json::from_str::<Entries<'_>>(text).map(|entries| entries.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn texts_are_read_as_serde_json_reads_them(
            pieces in proptest::collection::vec(
                prop_oneof![
                    ".{0,40}".prop_map(|text| serde_json::to_string(&text).unwrap().trim_matches('"').to_owned()),
                    proptest::sample::select(&[
                        r#"\n"#, r#"\""#, r#"\\"#, r#"\/"#, r#"\b"#, r#"\f"#, r#"\r"#, r#"\t"#, r#"\u0000"#, r#"\ud83c\udf88"#,
                        r#"\ud83d"#,
                    ][..]).prop_map(str::to_owned),
                ],
                0..8,
            )
        ) {
            let json = format!("\"{}\"", pieces.concat());
            let Ok(raw) = RawValue::from_string(json.clone()) else { return Ok(()) };
            let (ours, theirs) = (unescaped(&raw), serde_json::from_str::<String>(&json));
            prop_assert_eq!(ours.ok(), theirs.ok());
        }
    }

    #[test]
    fn a_list_of_objects_names_the_one_that_is_none() {
        let of = |list: &str| {
            let body = format!(r#"{{"messages":{list}}}"#);
            let all =
                Fields::of_body(body.as_bytes()).unwrap().objects("messages").map_err(|error| error.to_string())?;
            let told = |object: Result<Fields<'_>, RequestError>| match object {
                Ok(fields) => fields.path,
                Err(error) => error.to_string(),
            };
            Ok::<_, String>(all.map(|all| all.into_iter().map(told).collect::<Vec<_>>().join(", ")))
        };
        assert_eq!(of(r#"[{"a":1},{}]"#), Ok(Some("messages[0], messages[1]".into())));
        assert_eq!(of("null"), Ok(None));
        assert_eq!(of("[{},7]"), Ok(Some("messages[0], expected an object".into())));
        assert_eq!(of(r#"[{"a":1,"a":2},{}]"#), Ok(Some("`a` is given twice, messages[1]".into())));
        assert!(of("7").unwrap_err().contains("expected a list"));
    }
}
