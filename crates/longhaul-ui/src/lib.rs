//! The dashboard's built files, embedded.
//!
//! They are built from `web/` by `scripts/web` and committed, so that building the program needs no Node; the tests build
//! them again and refuse any difference. Each text file stands beside its gzip: what a browser loads first is small, and
//! nothing is compressed while serving. Names under `assets/` change with their content and may be kept for ever.

use std::borrow::Cow;

#[derive(rust_embed::RustEmbed)]
#[folder = "dist/"]
struct Dist;

/// A file of the dashboard.
#[derive(Debug, Clone)]
pub struct File {
    /// Its bytes.
    pub content: Cow<'static, [u8]>,
    /// Its bytes in gzip, when that is worth it.
    pub gzip: Option<Cow<'static, [u8]>>,
    /// SHA-256 of the bytes.
    pub digest: [u8; 32],
    /// What it is.
    pub media_type: &'static str,
}

/// A file by its path within the dashboard, such as `index.html`.
///
/// ```
/// assert!(longhaul_ui::file("index.html").is_some_and(|page| page.media_type.starts_with("text/html")));
/// assert!(longhaul_ui::file("../Cargo.toml").is_none());
/// ```
pub fn file(path: &str) -> Option<File> {
    let found = Dist::get(path)?;
    let gzip = Dist::get(&format!("{path}.gz")).map(|file| file.data);
    Some(File { digest: found.metadata.sha256_hash(), content: found.data, gzip, media_type: media_type(path)? })
}

/// By the name's ending; none for what is not served by itself, such as the compressed twins.
fn media_type(path: &str) -> Option<&'static str> {
    Some(match path.rsplit_once('.')?.1 {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        _ => return None,
    })
}
