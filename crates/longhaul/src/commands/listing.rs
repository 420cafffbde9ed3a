//! Lists that come in pages.

use serde_json::value::RawValue;

use super::Server;
use crate::client::Request;
use crate::client::types::Page;
use crate::screen::Screen;

/// What a list is to print, and how much of it.
pub(super) struct Listing<'a> {
    /// The request for a page after the given cursor.
    pub(super) page: &'a dyn Fn(Option<&str>) -> Request,
    /// Whether to go on to the end.
    pub(super) all: bool,
    /// How the cursor of the next page is told, when the server does not: from the last item.
    pub(super) next: fn(&Page<'_>) -> Option<String>,
}

/// The cursor that the server gave.
pub(super) fn given_cursor(page: &Page<'_>) -> Option<String> {
    page.next_cursor.clone()
}

/// Fetches pages and hands each item to `each`; with `--json` prints the items instead, one a line, or a single page
/// as it came. Returns the cursor of what was left.
pub(super) async fn print(
    listing: Listing<'_>,
    server: &Server,
    screen: &mut Screen,
    mut each: impl FnMut(&RawValue, &mut Screen) -> anyhow::Result<()>,
) -> anyhow::Result<Option<String>> {
    let mut cursor: Option<String> = None;
    loop {
        let answer = server.client.send((listing.page)(cursor.as_deref())).await?;
        let page: Page<'_> = answer.read()?;
        if server.json && !listing.all {
            screen.raw(&answer.body)?;
        } else {
            for item in &page.data {
                if server.json {
                    // A line each: a line end cannot stand inside a text of JSON, so taking it out changes nothing.
                    screen.line(item.get().replace(['\n', '\r'], ""))?;
                } else {
                    each(item, screen)?;
                }
            }
        }
        let next = if page.has_more { (listing.next)(&page) } else { None };
        // A cursor that does not move would never end.
        if !listing.all || next.is_none() || next == cursor || page.data.is_empty() {
            return Ok(next.filter(|_| !listing.all));
        }
        cursor = next;
    }
}
