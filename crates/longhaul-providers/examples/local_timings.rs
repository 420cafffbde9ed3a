//! How long each local algorithm takes on a text of one megabyte: `cargo run --release --example local_timings`.

#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "a measurement that a person reads")]

use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

use longhaul_providers::local::{Bm25, Local};

const WORDS: [&str; 40] = [
    "the",
    "harbour",
    "of",
    "a",
    "lighthouse",
    "and",
    "keeper",
    "storm",
    "in",
    "winter",
    "boat",
    "is",
    "carried",
    "to",
    "shore",
    "with",
    "lamp",
    "oil",
    "when",
    "tide",
    "turns",
    "slowly",
    "under",
    "grey",
    "sky",
    "ferry",
    "Lisbon",
    "that",
    "good",
    "terrible",
    "invoice",
    "parcel",
    "it",
    "wind",
    "north",
    "captain",
    "letter",
    "rope",
    "was",
    "seen",
];

/// Sentences of pseudo-random words and numbers, about `bytes` long.
fn text(bytes: usize) -> String {
    let (mut text, mut state) = (String::with_capacity(bytes + 200), 1_u64);
    while text.len() < bytes {
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize
        };
        for _ in 0..6 + next() % 14 {
            text.push_str(WORDS[next() % WORDS.len()]);
            if next() % 7 == 0 {
                text.push_str(&format!(" w{}", next() % 5_000));
            }
            text.push(' ');
        }
        text.push_str("ends. ");
    }
    text
}

fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let answer = work();
    println!("{what:<28}{:>9.1} ms", start.elapsed().as_secs_f64() * 1_000.0);
    answer
}

fn main() -> Result<(), Box<dyn Error>> {
    let local = Local::default();
    let text = text(1_000_000);
    println!("text: {} bytes", text.len());
    black_box(timed("summary", || local.summary(&text))?);
    black_box(timed("keywords", || local.keywords(&text))?);
    black_box(timed("sentiment", || local.sentiment(&text))?);
    black_box(timed("entities", || local.entities(&text))?);
    black_box(timed("language", || local.language(&text))?);
    black_box(timed("classify, 3 labels", || local.classify(&text, &["harbour", "invoice", "weather"]))?);
    let chunks: Vec<String> = text.as_bytes().chunks(2_500).map(|c| String::from_utf8_lossy(c).into_owned()).collect();
    black_box(timed(&format!("embed, {} chunks", chunks.len()), || local.embed(&chunks))?);
    let index = timed("BM25 build, same chunks", || Bm25::of(&chunks));
    black_box(timed("BM25 search", || index.search("lighthouse keeper in a storm", 10)));
    Ok(())
}
