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

    /// The fault that a field is not there.
    pub(crate) fn missing(&self, name: &str) -> RequestError {
        let at = self.at(name);
        RequestError::at(at.clone(), format!("`{at}` is required")).code("missing_required_parameter")
    }

    /// A fault of this object.
    pub(crate) fn fault(&self, why: impl fmt::Display) -> RequestError {
        RequestError::at(self.path.clone(), format!("`{}`: {why}", self.path))
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

fn entries(text: &str) -> Result<Vec<(Cow<'_, str>, &RawValue)>, serde_json::Error> {
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

    serde_json::from_str::<Entries<'_>>(text).map(|entries| entries.0)
}
