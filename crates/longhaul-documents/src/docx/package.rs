//! The archive around a Word document, opened with mistrust: entries are counted, and unpacked no further than to a bound,
//! whatever they claim about their size.

use std::io::{Cursor, Read as _};

use quick_xml::Reader;
use quick_xml::events::Event;
use zip::ZipArchive;
use zip::result::ZipError;

use super::styles::value;
use crate::charset;
use crate::error::DocumentError;
use crate::format::Format;
use crate::limits::Limits;

/// A document of many pictures has hundreds of entries.
const MAX_ENTRIES: usize = 20_000;
/// Letters of a complaint that are passed on.
const MAX_DETAIL_CHARS: usize = 120;

pub(super) struct Package<'a> {
    archive: ZipArchive<Cursor<&'a [u8]>>,
    /// What may still be unpacked, over all parts.
    left: usize,
    max: usize,
}

impl<'a> Package<'a> {
    pub(super) fn open(bytes: &'a [u8], limits: &Limits) -> Result<Self, DocumentError> {
        let archive = ZipArchive::new(Cursor::new(bytes)).map_err(|error| broken(&error.to_string()))?;
        if archive.len() > MAX_ENTRIES {
            return Err(broken(&format!("it has {} entries; at most {MAX_ENTRIES} are looked at", archive.len())));
        }
        Ok(Self { archive, left: limits.max_text_bytes, max: limits.max_text_bytes })
    }

    /// The text of a part; none when there is no such part.
    pub(super) fn part(&mut self, name: &str) -> Result<Option<String>, DocumentError> {
        let entry = match self.archive.by_name(name) {
            Ok(entry) => entry,
            Err(ZipError::FileNotFound) => return Ok(None),
            Err(error) => return Err(broken(&error.to_string())),
        };
        let mut bytes = Vec::new();
        let bound = u64::try_from(self.left).unwrap_or(u64::MAX).saturating_add(1);
        entry.take(bound).read_to_end(&mut bytes).map_err(|error| broken(&error.to_string()))?;
        self.left = self.left.checked_sub(bytes.len()).ok_or(DocumentError::TooLarge { max: self.max })?;
        Ok(Some(charset::decode(&bytes, &["utf-8"]).text.into_owned()))
    }
}

/// Where the parts of a document are: what its relationships say (ECMA-376, part 2), and their usual names without them.
pub(super) struct Parts {
    pub(super) main: String,
    pub(super) styles: String,
    pub(super) footnotes: String,
    pub(super) endnotes: String,
}

impl Parts {
    pub(super) fn find(package: &mut Package<'_>) -> Result<Self, DocumentError> {
        let of_package = Relationships::read(package, "_rels/.rels", "")?;
        let main = of_package.target("officeDocument").unwrap_or_else(|| "word/document.xml".to_owned());
        let (folder, name) = main.rsplit_once('/').unwrap_or(("", &main));
        let folder = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let of_main = Relationships::read(package, &format!("{folder}_rels/{name}.rels"), &folder)?;
        let part = |kind: &str| of_main.target(kind).unwrap_or_else(|| format!("{folder}{kind}.xml"));
        let (styles, footnotes, endnotes) = (part("styles"), part("footnotes"), part("endnotes"));
        Ok(Self { main, styles, footnotes, endnotes })
    }
}

/// What a part refers to, by kind.
struct Relationships(Vec<(String, String)>);

impl Relationships {
    /// Reads a part of relationships whose targets are in `folder` unless they say otherwise. What is missing or damaged
    /// refers to nothing.
    fn read(package: &mut Package<'_>, name: &str, folder: &str) -> Result<Self, DocumentError> {
        let xml = match package.part(name) {
            Err(error @ DocumentError::TooLarge { .. }) => return Err(error),
            other => other.ok().flatten().unwrap_or_default(),
        };
        let mut reader = Reader::from_str(&xml);
        let mut targets = Vec::new();
        while let Ok(event) = reader.read_event() {
            match event {
                Event::Eof => break,
                Event::Start(tag) | Event::Empty(tag) if tag.local_name().as_ref() == "Relationship" => {
                    let outside = value(&tag, "TargetMode").is_some_and(|mode| mode == "External");
                    if let (Some(kind), Some(target), false) = (value(&tag, "Type"), value(&tag, "Target"), outside) {
                        targets.push((kind, resolved(folder, &target)));
                    }
                }
                _ => {}
            }
            if targets.len() >= MAX_ENTRIES {
                break;
            }
        }
        Ok(Self(targets))
    }

    /// The first of a kind, which is the last word of its name.
    fn target(&self, kind: &str) -> Option<String> {
        let is_kind = |name: &str| name.rsplit('/').next() == Some(kind);
        self.0.iter().find(|(name, _)| is_kind(name)).map(|(_, target)| target.clone())
    }
}

/// The name of a part from where it is referred to: absolute, or in the folder, or above it.
fn resolved(folder: &str, target: &str) -> String {
    let whole = target.strip_prefix('/').map_or_else(|| format!("{folder}{target}"), str::to_owned);
    let mut path = Vec::new();
    for part in whole.split('/').filter(|part| !matches!(*part, "" | ".")) {
        if part == ".." {
            path.pop();
        } else {
            path.push(part);
        }
    }
    path.join("/")
}

pub(super) fn broken(detail: &str) -> DocumentError {
    DocumentError::Broken { format: Format::Docx, detail: detail.chars().take(MAX_DETAIL_CHARS).collect() }
}
