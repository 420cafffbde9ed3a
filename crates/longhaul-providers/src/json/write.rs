//! Writing JSON straight into bytes, in the order that is written down.
//!
//! Vendors' shapes have optional fields everywhere and carry raw JSON; a writer says both without a type per shape.

use serde::Serialize;

use super::{Extra, Json};

/// Appends a value. Nothing that this crate writes can fail to be JSON; should it, `null` stands in its place.
pub(crate) fn write(out: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    let start = out.len();
    if serde_json::to_writer(&mut *out, value).is_err() {
        out.truncate(start);
        out.extend_from_slice(b"null");
    }
}

/// Appends a text.
///
/// As `serde_json` writes it, which looks at byte after byte; here what lies between escapes is found many bytes at a time
/// and copied as it is. A prompt of a hundred thousand letters is written on its way to each provider.
pub(crate) fn text(out: &mut Vec<u8>, text: &str) {
    // Without a way out of the loop, so that it takes many bytes at once.
    let has_controls = text.bytes().fold(false, |found, byte| found | ((byte < 0x20) & (byte != b'\n')));
    let next = |rest: &[u8]| match has_controls {
        false => memchr::memchr3(b'"', b'\\', b'\n', rest),
        true => rest.iter().position(|byte| *byte < 0x20 || *byte == b'"' || *byte == b'\\'),
    };
    out.reserve(text.len() + 2);
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = next(rest) {
        out.extend_from_slice(&rest[..at]);
        escape(out, rest[at]);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

fn escape(out: &mut Vec<u8>, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let short = match byte {
        b'"' | b'\\' => byte,
        b'\n' => b'n',
        b'\t' => b't',
        b'\r' => b'r',
        0x08 => b'b',
        0x0c => b'f',
        _ => {
            let digits = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
            out.extend_from_slice(b"\\u00");
            out.extend_from_slice(&digits);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
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
        text(self.out, name);
        self.out.push(b':');
    }

    /// A field that is a text, which may be long.
    pub(crate) fn text(&mut self, name: &str, value: &str) -> &mut Self {
        self.name(name);
        text(self.out, value);
        self
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
        self.fields(extra.iter())
    }

    /// Some fields.
    pub(crate) fn fields<'f>(&mut self, fields: impl Iterator<Item = (&'f str, &'f Json)>) -> &mut Self {
        for (name, value) in fields {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(value: &str) -> Vec<u8> {
        let mut out = Vec::new();
        text(&mut out, value);
        out
    }

    #[test]
    fn every_sign_is_written_as_serde_json_writes_it_wherever_it_stands() {
        for code in 0..0x180 {
            let Some(sign) = char::from_u32(code) else { continue };
            for before in [0, 1, 31, 32, 33] {
                let value = format!("{}{sign}after it", "x".repeat(before));
                assert_eq!(written(&value), serde_json::to_vec(&value).unwrap(), "{code} after {before}");
            }
        }
    }

    proptest! {
        #[test]
        fn texts_are_written_as_serde_json_writes_them(value in any::<String>(), much in ".{0,200}") {
            for value in [value, much] {
                prop_assert_eq!(written(&value), serde_json::to_vec(&value).unwrap());
            }
        }
    }
}
