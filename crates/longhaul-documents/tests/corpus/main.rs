//! Files as they come from other programs, from scanners and from people who mean harm.
//!
//! `cargo nextest run -p longhaul-documents --test corpus --no-capture` prints how many words come out right.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that cannot go on fails, and tells its figures")]

mod docx;
mod pictures;
mod producers;

use longhaul_documents::{Limits, Page, PageError, Pages, sniff};

/// Opens a file by its bytes alone.
fn open(bytes: &[u8]) -> Pages {
    let format = sniff(bytes, None, None).unwrap();
    Pages::open(bytes.to_vec(), format, &Limits::default()).unwrap()
}

fn page(pages: &Pages, number: usize) -> Result<Page, PageError> {
    pages.page(number)
}
