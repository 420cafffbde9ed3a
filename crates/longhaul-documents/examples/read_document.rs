//! Prints the text of a document, page by page: `cargo run --example read_document -- file.pdf`.

#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "a tool for a person, with timings")]

use std::error::Error;
use std::time::Instant;

use longhaul_documents::{ChunkOptions, Limits, Pages, chunk, read_bounded, sniff};

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("name a file")?;
    let limits = Limits::default();
    let bytes = read_bounded(std::fs::File::open(&path)?, limits.max_pdf_bytes)?;
    let format = sniff(&bytes, None, Some(&path))?;
    let start = Instant::now();
    let open = Pages::open(bytes, format, &limits)?;
    println!("{format}, {} pages, title {:?}, opened in {:?}", open.page_count(), open.title(), start.elapsed());
    let mut pages = Vec::new();
    for number in 1..=open.page_count() {
        let start = Instant::now();
        match open.page(number) {
            Ok(page) => {
                println!("--- page {number}, {:?}, needs_ocr {}, {:?}", start.elapsed(), page.needs_ocr, page.warnings);
                println!("{}", page.text);
                pages.push(page);
            }
            Err(error) => println!("--- page {number}: {} ({})", error, error.code()),
        }
    }
    let start = Instant::now();
    let chunks = chunk(&pages, &ChunkOptions::default())?;
    println!("--- {} chunks in {:?}", chunks.len(), start.elapsed());
    Ok(())
}
