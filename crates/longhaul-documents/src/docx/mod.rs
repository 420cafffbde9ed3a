//! Word documents: a ZIP archive of XML parts.
//!
//! Of the parts only those with text are unpacked, each to a bound ([`package`]). [`body`] turns the XML of
//! WordprocessingML (ECMA-376) into the text that a reader sees: paragraphs, headings, tables, footnotes. What was deleted
//! while changes were tracked is left out, and so are running heads, which say the same on every page. There are no pages:
//! where one ends is for the printer to find out.

mod body;
mod package;
mod styles;

use crate::error::DocumentError;
use crate::html::one_line;
use crate::limits::Limits;
use crate::normalise::normalise;
use crate::page::{Page, Warning};

use package::{Package, Parts};

/// The text of a document, its title, and what was lost.
pub(crate) fn read(bytes: &[u8], limits: &Limits) -> Result<(Page, Option<String>, Vec<Warning>), DocumentError> {
    let mut package = Package::open(bytes, limits)?;
    let parts = Parts::find(&mut package)?;
    let Some(main) = package.part(&parts.main)? else {
        return Err(package::broken(&format!("the part with its text, {}, is missing", parts.main)));
    };
    let mut warnings = Vec::new();
    // Without its styles a document still has its words.
    let styles = optional(&mut package, &parts.styles, &mut warnings)?;
    let styles = styles.map(|xml| styles::heading_levels(&xml)).unwrap_or_default();
    let footnotes = optional(&mut package, &parts.footnotes, &mut warnings)?;
    let endnotes = optional(&mut package, &parts.endnotes, &mut warnings)?;
    let notes = body::Notes::of(footnotes.as_deref(), endnotes.as_deref());
    let (page, cut_off) = body::read(&main, &styles, &notes);
    if let Some(detail) = cut_off {
        if page.text.is_empty() {
            return Err(package::broken(&detail));
        }
        let message = format!("the document is damaged; what stands after the damage is missing ({detail})");
        warnings.push(Warning::new("document_damaged", message));
    }
    let title = optional(&mut package, "docProps/core.xml", &mut Vec::new())?.and_then(|xml| styles::title(&xml));
    let title = title.map(|title| one_line(&normalise(&title)));
    Ok((page, title.filter(|title| !title.is_empty()), warnings))
}

/// A part that a document can do without. One that is damaged is told; one that bursts its bound is an attack.
fn optional(
    package: &mut Package<'_>,
    name: &str,
    warnings: &mut Vec<Warning>,
) -> Result<Option<String>, DocumentError> {
    match package.part(name) {
        Err(DocumentError::Broken { detail, .. }) => {
            let message = format!("the part {name} of the document is damaged and was left out ({detail})");
            warnings.push(Warning::new("part_damaged", message));
            Ok(None)
        }
        other => other,
    }
}
