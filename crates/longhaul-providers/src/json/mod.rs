//! JSON that is carried, not understood: schemas, tool arguments, fields of one vendor.
//!
//! Carried JSON keeps its bytes. The order of a schema's properties is the order in which models write them, so a tree
//! that sorts its keys would change answers.

mod read;
mod write;

pub(crate) use read::{Fields, Integer, list, one_or_many, text};
pub(crate) use write::{List, Object, object, to_bytes, write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// One JSON value, kept as it was written.
///
/// Equal when written alike: `1.0` and `1.00` differ, as do two orders of the same keys.
#[derive(Clone, Debug)]
pub struct Json(Box<RawValue>);

impl Json {
    /// Takes text that is one JSON value.
    pub fn parse(text: impl Into<String>) -> Result<Self, serde_json::Error> {
        RawValue::from_string(text.into()).map(Self)
    }

    /// What a value looks like as JSON. A value that has no JSON form (a map with keys that are no strings) is `null`.
    pub fn of(value: &(impl Serialize + ?Sized)) -> Self {
        serde_json::value::to_raw_value(value).map_or_else(|_| Self::null(), Self)
    }

    /// `null`.
    pub fn null() -> Self {
        Self(RawValue::NULL.to_owned())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// The text as the reader wants it.
    pub(crate) fn raw(&self) -> &RawValue {
        &self.0
    }

    /// Reads it as a type.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.as_str())
    }

    /// Its fields, if it is an object; none otherwise.
    pub(crate) fn read_fields(&self) -> Vec<(String, Json)> {
        read::owned_fields(self.as_str())
    }

    /// Its `type`, if it is an object that has one.
    pub(crate) fn kind(&self) -> Option<String> {
        #[derive(Deserialize)]
        struct Typed {
            #[serde(rename = "type")]
            kind: String,
        }
        self.read::<Typed>().ok().map(|typed| typed.kind)
    }

    /// True if it is an object.
    pub fn is_object(&self) -> bool {
        self.as_str().starts_with('{')
    }
}

impl PartialEq for Json {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Json {}

impl From<&RawValue> for Json {
    fn from(raw: &RawValue) -> Self {
        Self(raw.to_owned())
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(deserializer).map(Self)
    }
}

/// Fields of one vendor that the neutral model has no word for, in their order.
///
/// They travel on to a target that speaks the same [`Dialect`](crate::chat::Dialect), and to no other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extra(Vec<(String, Json)>);

impl Extra {
    /// No fields.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of a field.
    pub fn get(&self, name: &str) -> Option<&Json> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// Sets a field, in place of one of that name.
    pub fn insert(&mut self, name: impl Into<String>, value: Json) {
        let name = name.into();
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some(slot) => slot.1 = value,
            None => self.0.push((name, value)),
        }
    }

    /// Takes a field out.
    pub fn remove(&mut self, name: &str) -> Option<Json> {
        let at = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.remove(at).1)
    }

    /// The fields that are left of the object `name`, by [`Fields::leave_within`].
    pub(crate) fn within<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, &'a Json)> {
        self.iter().filter_map(move |(field, value)| Some((field.strip_prefix(name)?.strip_prefix('.')?, value)))
    }

    /// The fields that are not left of the object `name`.
    pub(crate) fn beside<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, &'a Json)> {
        self.iter().filter(move |(field, _)| !is_within(field, name))
    }

    /// The fields, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Json)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }
}

/// Whether a field is left of the object `name`.
fn is_within(field: &str, name: &str) -> bool {
    field.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'))
}

impl Serialize for Extra {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}
