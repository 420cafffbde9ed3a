//! Writes small PDFs for tests.

use std::collections::BTreeMap;
use std::sync::Arc;

use lopdf::encryption::crypt_filters::{Aes256CryptFilter, CryptFilter};
use lopdf::{
    Dictionary, Document, EncryptionState, EncryptionVersion, Object, ObjectId, Permissions, Stream, StringFormat,
    dictionary,
};

/// Collects pages.
pub(crate) struct Builder {
    pub(crate) document: Document,
    pub(crate) font: Option<Dictionary>,
    pages: Vec<(ObjectId, bool)>,
    form: Option<Stream>,
}

impl Default for Builder {
    fn default() -> Self {
        Self { document: Document::with_version("1.7"), font: None, pages: Vec::new(), form: None }
    }
}

impl Builder {
    /// A page with one line of text.
    pub(crate) fn text(&mut self, words: &str) -> &mut Self {
        self.raw(format!("BT /F1 12 Tf 72 700 Td ({words}) Tj ET").as_bytes())
    }

    /// A page with this content stream.
    pub(crate) fn raw(&mut self, content: &[u8]) -> &mut Self {
        let id = self.document.add_object(Stream::new(Dictionary::new(), content.to_vec()));
        self.pages.push((id, false));
        self
    }

    /// A page with nothing but a picture of one grey dot.
    pub(crate) fn picture(&mut self) -> &mut Self {
        self.raw(b"q 400 0 0 400 72 300 cm /Picture Do Q");
        if let Some(page) = self.pages.last_mut() {
            page.1 = true;
        }
        self
    }

    /// The form that pages draw as `/Self`, with itself among its resources.
    pub(crate) fn form(&mut self, content: &[u8]) {
        let kind = dictionary! { "Type" => "XObject", "Subtype" => "Form" };
        self.form = Some(Stream::new(kind, content.to_vec()));
    }

    pub(crate) fn build(&mut self) -> Document {
        let mut document = std::mem::take(&mut self.document);
        let plain = dictionary! {
            "Type" => "Font", "Subtype" => "Type1", "BaseFont" => "Helvetica", "Encoding" => "WinAnsiEncoding",
        };
        let font = document.add_object(self.font.take().unwrap_or(plain));
        let dot = dictionary! {
            "Type" => "XObject", "Subtype" => "Image", "Width" => 1, "Height" => 1,
            "ColorSpace" => "DeviceGray", "BitsPerComponent" => 8,
        };
        let dot = document.add_object(Stream::new(dot, vec![0x80]));
        let form = document.add_object(self.form.take().unwrap_or_else(|| Stream::new(Dictionary::new(), Vec::new())));
        let tree = document.new_object_id();
        let mut kids = Vec::new();
        for (content, pictured) in self.pages.drain(..) {
            let mut objects = dictionary! { "Self" => form };
            if pictured {
                objects.set("Picture", dot);
            }
            let resources = dictionary! { "Font" => dictionary! { "F1" => font }, "XObject" => objects };
            let page = dictionary! {
                "Type" => "Page", "Parent" => tree, "Contents" => content, "Resources" => resources,
                "MediaBox" => vec![0.into(), 0.into(), 595.into(), 842.into()],
            };
            kids.push(Object::Reference(document.add_object(page)));
        }
        let count = kids.len() as i64;
        let pages = dictionary! { "Type" => "Pages", "Kids" => kids, "Count" => count };
        document.objects.insert(tree, Object::Dictionary(pages));
        let catalog = document.add_object(dictionary! { "Type" => "Catalog", "Pages" => tree });
        document.trailer.set("Root", catalog);
        document
    }
}

/// The bytes of a document.
pub(crate) fn saved(mut document: Document) -> Vec<u8> {
    let mut bytes = Vec::new();
    document.save_to(&mut bytes).unwrap();
    bytes
}

/// The bytes of a document protected by RC4 with 128 bits, or by AES with 256.
pub(crate) fn encrypted(mut document: Document, owner_password: &str, user_password: &str, strong: bool) -> Vec<u8> {
    let id = Object::String(b"0123456789abcdef".to_vec(), StringFormat::Literal);
    document.trailer.set("ID", vec![id.clone(), id]);
    let filter: Arc<dyn CryptFilter> = Arc::new(Aes256CryptFilter);
    let permissions = Permissions::all();
    let version = if strong {
        EncryptionVersion::V5 {
            encrypt_metadata: true,
            crypt_filters: BTreeMap::from([(b"StdCF".to_vec(), filter)]),
            file_encryption_key: &[7; 32],
            stream_filter: b"StdCF".to_vec(),
            string_filter: b"StdCF".to_vec(),
            owner_password,
            user_password,
            permissions,
        }
    } else {
        EncryptionVersion::V2 { document: &document, owner_password, user_password, key_length: 128, permissions }
    };
    let state = EncryptionState::try_from(version).unwrap();
    document.encrypt(&state).unwrap();
    saved(document)
}
