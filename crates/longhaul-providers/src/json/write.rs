//! Writing JSON straight into bytes, in the order that is written down.
//!
//! Vendors' shapes have optional fields everywhere and carry raw JSON; a writer says both without a type per shape.

use serde::Serialize;

use super::Extra;

/// Appends a value. Nothing that this crate writes can fail to be JSON; should it, `null` stands in its place.
pub(crate) fn write(out: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    let start = out.len();
    if serde_json::to_writer(&mut *out, value).is_err() {
        out.truncate(start);
        out.extend_from_slice(b"null");
    }
}

/// Appends an object.
pub(crate) fn object(out: &mut Vec<u8>, fill: impl FnOnce(&mut Object<'_>)) {
    out.push(b'{');
    fill(&mut Object { out, empty: true });
    out.push(b'}');
}

/// An object as bytes.
pub(crate) fn to_bytes(fill: impl FnOnce(&mut Object<'_>)) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    object(&mut out, fill);
    out
}

/// An object that is being written.
pub(crate) struct Object<'w> {
    out: &'w mut Vec<u8>,
    empty: bool,
}

impl Object<'_> {
    fn name(&mut self, name: &str) {
        if !self.empty {
            self.out.push(b',');
        }
        self.empty = false;
        write(self.out, name);
        self.out.push(b':');
    }

    /// A field.
    pub(crate) fn field(&mut self, name: &str, value: &(impl Serialize + ?Sized)) -> &mut Self {
        self.name(name);
        write(self.out, value);
        self
    }

    /// A field, if there is a value.
    pub(crate) fn some(&mut self, name: &str, value: Option<&(impl Serialize + ?Sized)>) -> &mut Self {
        if let Some(value) = value {
            self.field(name, value);
        }
        self
    }

    /// A field that is an object.
    pub(crate) fn object(&mut self, name: &str, fill: impl FnOnce(&mut Object<'_>)) -> &mut Self {
        self.name(name);
        object(self.out, fill);
        self
    }

    /// A field that is a list.
    pub(crate) fn list(&mut self, name: &str, fill: impl FnOnce(&mut List<'_>)) -> &mut Self {
        self.name(name);
        self.out.push(b'[');
        fill(&mut List { out: self.out, empty: true });
        self.out.push(b']');
        self
    }

    /// Carried fields.
    pub(crate) fn extra(&mut self, extra: &Extra) -> &mut Self {
        for (name, value) in extra.iter() {
            self.field(name, value);
        }
        self
    }
}

/// A list that is being written.
pub(crate) struct List<'w> {
    out: &'w mut Vec<u8>,
    empty: bool,
}

impl List<'_> {
    fn next(&mut self) {
        if !self.empty {
            self.out.push(b',');
        }
        self.empty = false;
    }

    /// An element.
    pub(crate) fn item(&mut self, value: &(impl Serialize + ?Sized)) {
        self.next();
        write(self.out, value);
    }

    /// An element that is an object.
    pub(crate) fn object(&mut self, fill: impl FnOnce(&mut Object<'_>)) {
        self.next();
        object(self.out, fill);
    }
}
