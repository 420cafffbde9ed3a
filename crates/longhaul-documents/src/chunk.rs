//! Pages cut into pieces for embedding: bounded in tokens, overlapping, ending where a sentence ends if one does.
//!
//! A chunk is a slice of one page: `page.text[start..end]` (offsets in bytes) is its text. Chunks of a page follow each
//! other without a gap but white space, and each begins within `overlap` tokens before the end of the one before it. The
//! same pages and options give the same chunks, whatever was cut before, so that a page can be cut as soon as it is read.

use std::iter::Peekable;
use std::vec::IntoIter;

use serde::{Deserialize, Serialize};
use unicode_segmentation::{UWordBoundIndices, UnicodeSegmentation};

use crate::page::{Heading, Page};
use crate::tokens::{self, TOKEN};

/// Tokens of one chunk at most, whatever is asked for: the most that embedding models read is below it.
const MAX_TOKENS: usize = 32_768;
/// Fewer tokens than this hold no sentence; a single letter may cost three.
const MIN_TOKENS: usize = 8;
/// A sentence end is taken if it leaves a chunk at least this full, in hundredths.
const FULL_ENOUGH: usize = 50;
/// Letters of a section path.
const MAX_SECTION_CHARS: usize = 300;

/// How pages are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ChunkOptions {
    /// Tokens of a chunk at most, as [`estimate_tokens`](crate::estimate_tokens) counts them. Default 512.
    pub tokens: usize,
    /// Tokens of a chunk, at most, that the next one repeats. Default 64.
    pub overlap: usize,
}

impl Default for ChunkOptions {
    fn default() -> Self {
        Self { tokens: 512, overlap: 64 }
    }
}

/// Options that no pages can be cut by.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidChunkOptions {
    /// `tokens` is out of range.
    #[error("chunks of {tokens} tokens were asked for; from {MIN_TOKENS} to {MAX_TOKENS} are possible")]
    Tokens {
        /// What was asked for.
        tokens: usize,
    },
    /// The pages would be cut into too many.
    #[error("the text has more than {max} pieces of {tokens} tokens; ask for larger ones")]
    TooMany {
        /// The most that were wanted.
        max: usize,
        /// The tokens of a chunk.
        tokens: usize,
    },
    /// `overlap` leaves nothing new for a chunk.
    #[error("an overlap of {overlap} tokens was asked for; it must be below the {tokens} tokens of a chunk")]
    Overlap {
        /// What was asked for.
        overlap: usize,
        /// The tokens of a chunk.
        tokens: usize,
    },
}

impl InvalidChunkOptions {
    /// A stable name of the error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Tokens { .. } => "invalid_chunk_tokens",
            Self::TooMany { .. } => "too_many_chunks",
            Self::Overlap { .. } => "invalid_chunk_overlap",
        }
    }

    /// The option that is wrong.
    pub fn field(&self) -> &'static str {
        match self {
            Self::Tokens { .. } | Self::TooMany { .. } => "tokens",
            Self::Overlap { .. } => "overlap",
        }
    }
}

impl ChunkOptions {
    /// Refuses options that no pages can be cut by.
    pub fn validate(&self) -> Result<(), InvalidChunkOptions> {
        if !(MIN_TOKENS..=MAX_TOKENS).contains(&self.tokens) {
            return Err(InvalidChunkOptions::Tokens { tokens: self.tokens });
        }
        if self.overlap >= self.tokens {
            return Err(InvalidChunkOptions::Overlap { overlap: self.overlap, tokens: self.tokens });
        }
        Ok(())
    }
}

/// A piece of a page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// From 0, over all pages that were cut together.
    pub index: usize,
    /// The number of its page.
    pub page: usize,
    /// Its words, as they stand on the page.
    pub text: String,
    /// About how many tokens it is.
    pub tokens: usize,
    /// Where it starts, in bytes of the page's text.
    pub start: usize,
    /// Where it ends (exclusive), in bytes of the page's text.
    pub end: usize,
    /// The headings above its start, highest first: `Harbour › Tides`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub section: Option<String>,
}

/// Cuts pages into chunks. A page without words gives none.
pub fn chunk<'a>(
    pages: impl IntoIterator<Item = &'a Page>,
    options: &ChunkOptions,
) -> Result<Vec<Chunk>, InvalidChunkOptions> {
    chunk_at_most(usize::MAX, pages, options)
}

/// As [`chunk`], into at most `max`: what is done with each chunk (a vector, a row) costs more than the chunk.
///
/// # Errors
/// Options that no pages can be cut by, and that there would be more; no more than `max` are ever held.
pub fn chunk_at_most<'a>(
    max: usize,
    pages: impl IntoIterator<Item = &'a Page>,
    options: &ChunkOptions,
) -> Result<Vec<Chunk>, InvalidChunkOptions> {
    chunk_unless(|| false, max, pages, options).map(Option::unwrap_or_default)
}

/// As [`chunk_at_most`], unless `stop` says that nobody waits for the chunks any more, in which case there are none. It is
/// asked before each chunk: cutting a long text takes seconds.
///
/// # Errors
/// As [`chunk_at_most`].
pub fn chunk_unless<'a>(
    stop: impl Fn() -> bool,
    max: usize,
    pages: impl IntoIterator<Item = &'a Page>,
    options: &ChunkOptions,
) -> Result<Option<Vec<Chunk>>, InvalidChunkOptions> {
    options.validate()?;
    let mut chunks = Vec::new();
    for page in pages {
        match chunk_page(page, options, &stop, max, &mut chunks) {
            Cut::Whole => {}
            Cut::TooMany => return Err(InvalidChunkOptions::TooMany { max, tokens: options.tokens }),
            Cut::Stopped => return Ok(None),
        }
    }
    Ok(Some(chunks))
}

/// How far the cutting of a page came.
enum Cut {
    Whole,
    TooMany,
    Stopped,
}

/// The smallest piece that is never cut: a word, a sign, a run of white space, or a part of an endless word.
struct Piece {
    start: usize,
    end: usize,
    cost: usize,
    space: bool,
    /// A sentence or paragraph starts here.
    opens: bool,
}

/// Cuts one page, unless there would be more than `max` chunks in all. Only the pieces of the chunk at hand are held: a page
/// may be a whole book.
fn chunk_page(
    page: &Page,
    options: &ChunkOptions,
    stop: &impl Fn() -> bool,
    max: usize,
    chunks: &mut Vec<Chunk>,
) -> Cut {
    let limit = options.tokens * TOKEN;
    let mut sections = Sections { ahead: &page.headings, path: Vec::new() };
    let mut source = Pieces::of(&page.text, options);
    let mut pieces: Vec<Piece> = Vec::new();
    let mut covered = 0;
    source.skip_space(&mut pieces, 0);
    pieces.drain(..space_at(&pieces, 0));
    loop {
        source.refill(&mut pieces, 2 * limit);
        if pieces.is_empty() {
            return Cut::Whole;
        }
        if chunks.len() >= max {
            return Cut::TooMany;
        }
        if stop() {
            return Cut::Stopped;
        }
        let mut to = fill(&pieces, limit);
        if to < pieces.len() {
            to = end_of_sentence(&pieces, to, covered, limit);
        }
        let last = to - pieces[..to].iter().rev().take_while(|piece| piece.space).count();
        // A mark that leans on a space makes the space part of its piece.
        let whole = &page.text[pieces[0].start..pieces[last - 1].end];
        let start = pieces[0].start + (whole.len() - whole.trim_start().len());
        let end = start + whole.trim().len();
        let tokens = cost(&pieces[..last]).div_ceil(TOKEN);
        let section = sections.of(start);
        let text = page.text[start..end].to_owned();
        chunks.push(Chunk { index: chunks.len(), page: page.number, text, tokens, start, end, section });
        source.skip_space(&mut pieces, to);
        covered = to + space_at(&pieces, to);
        if covered == pieces.len() {
            return Cut::Whole;
        }
        let next = overlap_start(&pieces, covered, options);
        pieces.drain(..next);
        covered -= next;
    }
}

fn cost(pieces: &[Piece]) -> usize {
    pieces.iter().map(|piece| piece.cost).sum()
}

/// The end of as many pieces as fit, at least one.
fn fill(pieces: &[Piece], limit: usize) -> usize {
    let mut spent = 0;
    let fits = |piece: &&Piece| {
        spent += piece.cost;
        spent <= limit
    };
    pieces.iter().take_while(fits).count().max(1)
}

/// The last start of a sentence that leaves the chunk full enough and brings something new; else where it is full.
fn end_of_sentence(pieces: &[Piece], to: usize, covered: usize, limit: usize) -> usize {
    let mut spent = cost(&pieces[..to]);
    for end in (1..=to).rev() {
        if spent * 100 < limit * FULL_ENOUGH || end <= covered {
            break;
        }
        if pieces[end].opens {
            return end;
        }
        spent -= pieces[end - 1].cost;
    }
    to
}

/// Where the next chunk begins: up to `overlap` before `covered`, at a sentence if one starts there, else at a word.
fn overlap_start(pieces: &[Piece], covered: usize, options: &ChunkOptions) -> usize {
    // What comes next must fit behind the overlap, or the next chunk would bring nothing new.
    let room = (options.tokens * TOKEN).saturating_sub(pieces[covered].cost);
    let allowed = room.min(options.overlap * TOKEN);
    let mut spent = 0;
    let mut word = covered;
    let mut sentence = None;
    for index in (1..covered).rev() {
        spent += pieces[index].cost;
        if spent > allowed {
            break;
        }
        if !pieces[index].space {
            word = index;
            sentence = if pieces[index].opens { Some(index) } else { sentence };
        }
    }
    sentence.unwrap_or(word)
}

/// How many pieces of white space stand here.
fn space_at(pieces: &[Piece], from: usize) -> usize {
    pieces[from..].iter().take_while(|piece| piece.space).count()
}

/// The pieces of a text, made as they are needed.
struct Pieces<'a> {
    words: UWordBoundIndices<'a>,
    opens: Peekable<IntoIter<usize>>,
    max_cost: usize,
}

impl<'a> Pieces<'a> {
    fn of(text: &'a str, options: &ChunkOptions) -> Self {
        // A word above this could not stand in a chunk together with its overlap.
        let max_cost = ((options.tokens - options.overlap) * TOKEN).max(TOKEN);
        let opens = sentence_starts(text).into_iter().peekable();
        Self { words: text.split_word_bound_indices(), opens, max_cost }
    }

    /// Appends pieces until they cost more than `enough` or the text ends.
    fn refill(&mut self, pieces: &mut Vec<Piece>, enough: usize) {
        let mut held = cost(pieces);
        while held <= enough && self.take_word(pieces) {
            held += pieces.last().map_or(0, |piece| piece.cost);
        }
    }

    /// Appends pieces until one after `from` is a word or the text ends.
    fn skip_space(&mut self, pieces: &mut Vec<Piece>, from: usize) {
        let mut at = from;
        loop {
            // What is known to be space is not looked at again: there may be a million empty lines.
            at += space_at(pieces, at);
            if at < pieces.len() || !self.take_word(pieces) {
                return;
            }
        }
    }

    /// Appends the pieces of the next word, or says that there is none.
    fn take_word(&mut self, pieces: &mut Vec<Piece>) -> bool {
        let Some((start, word)) = self.words.next() else { return false };
        let mut open = false;
        while self.opens.next_if(|&at| at <= start).is_some() {
            open = true;
        }
        let space = word.chars().all(char::is_whitespace);
        let whole = Piece { start, end: start + word.len(), cost: tokens::cost(word), space, opens: open && !space };
        if whole.cost <= self.max_cost {
            pieces.push(whole);
        } else {
            split_word(whole, word, self.max_cost, pieces);
        }
        true
    }
}

/// Cuts an endless word between its letters, and a letter under endless marks between those.
fn split_word(whole: Piece, word: &str, max_cost: usize, pieces: &mut Vec<Piece>) {
    let mut start = 0;
    let mut opens = whole.opens;
    let mut push = |from: usize, to: usize, opens: &mut bool| {
        let cost = tokens::cost(&word[from..to]);
        let (start, end) = (whole.start + from, whole.start + to);
        // A narrow no-break space may stand within a word.
        let space = word[from..to].chars().all(char::is_whitespace);
        pieces.push(Piece { start, end, cost, space, opens: std::mem::take(opens) && !space });
    };
    let mut spent = 0;
    for (at, letter) in word.char_indices() {
        // Letter by letter costs at least as much as all at once.
        let mut buffer = [0; 4];
        let next = tokens::cost(letter.encode_utf8(&mut buffer));
        if spent + next > max_cost && at > start {
            push(start, at, &mut opens);
            (start, spent) = (at, 0);
        }
        spent += next;
    }
    push(start, word.len(), &mut opens);
}

/// Where sentences and paragraphs start, in bytes, in order.
fn sentence_starts(text: &str) -> Vec<usize> {
    let mut starts = Vec::new();
    let mut paragraph = 0;
    let mut at = 0;
    for line in text.split_inclusive('\n').chain([""]) {
        let blank = line.trim().is_empty();
        if blank {
            // UAX #29 ends a sentence at every line end; inside a paragraph that ends nothing.
            let joined: String = text[paragraph..at].chars().map(|c| if c == '\n' { ' ' } else { c }).collect();
            starts.extend(joined.split_sentence_bound_indices().map(|(offset, _)| paragraph + offset));
            paragraph = at + line.len();
        }
        at += line.len();
    }
    starts
}

/// The headings of a page, for places that are asked for from its beginning to its end.
struct Sections<'a> {
    /// Those behind the last place.
    ahead: &'a [Heading],
    /// Those above it, highest first.
    path: Vec<&'a Heading>,
}

impl Sections<'_> {
    /// The path of headings under which a place stands.
    fn of(&mut self, at: usize) -> Option<String> {
        while let Some((heading, ahead)) = self.ahead.split_first().filter(|(heading, _)| heading.at <= at) {
            self.ahead = ahead;
            while self.path.last().is_some_and(|above| above.level >= heading.level) {
                self.path.pop();
            }
            self.path.push(heading);
        }
        // No more of a heading is looked at than is kept: one may be as long as the document.
        let mut path = String::new();
        let mut room = MAX_SECTION_CHARS;
        for (index, heading) in self.path.iter().enumerate() {
            let before = if index > 0 { " › " } else { "" };
            for letter in before.chars().chain(heading.text.chars()).take(room) {
                path.push(letter);
                room -= 1;
            }
        }
        (!self.path.is_empty()).then_some(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(text: &str) -> Page {
        Page { number: 3, text: text.to_owned(), ..Page::default() }
    }

    fn cut(text: &str, tokens: usize, overlap: usize) -> Vec<Chunk> {
        chunk([&page(text)], &ChunkOptions { tokens, overlap }).unwrap()
    }

    #[test]
    fn chunks_end_where_sentences_end() {
        let text = "The tide turns twice a day. Boats wait for it in the bay.\nNobody hurries here. The bell is quiet.";
        let chunks = cut(text, 14, 0);
        let texts: Vec<_> = chunks.iter().map(|chunk| chunk.text.as_str()).collect();
        assert_eq!(
            texts,
            [
                "The tide turns twice a day.",
                "Boats wait for it in the bay.\nNobody hurries here.",
                "The bell is quiet."
            ]
        );
        assert!(chunks.iter().all(|chunk| chunk.page == 3 && text[chunk.start..chunk.end] == chunk.text));
    }

    #[test]
    fn the_next_chunk_repeats_the_last_sentence_if_it_fits() {
        let text = "The tide turns twice a day. It never waits. Boats wait for it in the quiet bay all day.";
        let chunks = cut(text, 16, 6);
        assert_eq!(chunks[0].text, "The tide turns twice a day. It never waits.");
        assert!(chunks[1].text.starts_with("It never waits. Boats"), "{}", chunks[1].text);
    }

    #[test]
    fn an_endless_word_is_cut_and_no_letter_is_lost() {
        for word in ["x".repeat(5_000), "字".repeat(900), "e\u{301}".repeat(700)] {
            let chunks = cut(&word, 16, 4);
            assert!(chunks.len() > 5);
            assert!(chunks.iter().all(|chunk| chunk.tokens <= 16));
            assert!(chunks.windows(2).all(|pair| pair[1].start <= pair[0].end && pair[1].end > pair[0].end));
            assert_eq!(chunks.last().map(|chunk| chunk.end), Some(word.len()));
        }
    }

    #[test]
    fn chunks_know_their_section() {
        let text = "A\n\none two three four five six seven\n\nB\n\neight nine ten eleven twelve thirteen\n\nC\n\nlast words stand here";
        let of = |at: &str, level| Heading { at: text.find(at).unwrap(), level, text: at.to_owned() };
        let mut page = page(text);
        page.headings = vec![of("A", 1), of("B", 2), of("C", 2)];
        let chunks = chunk([&page], &ChunkOptions { tokens: 10, overlap: 0 }).unwrap();
        let sections: Vec<_> = chunks.iter().map(|chunk| chunk.section.as_deref().unwrap_or("")).collect();
        assert_eq!(sections, ["A", "A › B", "A › C"]);
    }

    #[test]
    fn indexes_run_over_pages_and_empty_pages_give_nothing() {
        let pages = [page("one"), page(" \n "), page("two")];
        let chunks = chunk(&pages, &ChunkOptions::default()).unwrap();
        assert_eq!(
            chunks.iter().map(|chunk| (chunk.index, chunk.text.as_str())).collect::<Vec<_>>(),
            [(0, "one"), (1, "two")]
        );
    }

    #[test]
    fn no_more_chunks_are_made_than_were_wanted() {
        let (pages, options) = ([page("One two. Three four."), page("Five.")], ChunkOptions { tokens: 8, overlap: 0 });
        let all = chunk(&pages, &options).unwrap();
        assert_eq!(chunk_at_most(all.len(), &pages, &options), Ok(all.clone()));
        let refused = chunk_at_most(all.len() - 1, &pages, &options).unwrap_err();
        assert_eq!(refused, InvalidChunkOptions::TooMany { max: all.len() - 1, tokens: 8 });
        assert_eq!((refused.code(), refused.field()), ("too_many_chunks", "tokens"));
    }

    #[test]
    fn nothing_is_cut_any_further_once_nobody_waits_for_it() {
        let (page, options) = (page(&"One two three. ".repeat(1_000)), ChunkOptions { tokens: 8, overlap: 0 });
        let asked = std::cell::Cell::new(0);
        let stop = || asked.replace(asked.get() + 1) == 5;
        assert_eq!(chunk_unless(stop, usize::MAX, [&page, &page], &options), Ok(None));
        assert_eq!(asked.get(), 6, "before each chunk, and not once more");
    }

    #[test]
    fn impossible_options_are_refused_by_name() {
        let refused = |tokens, overlap| ChunkOptions { tokens, overlap }.validate().unwrap_err();
        assert_eq!((refused(4, 0).field(), refused(100_000, 0).code()), ("tokens", "invalid_chunk_tokens"));
        let overlap = refused(64, 64);
        assert_eq!((overlap.field(), overlap.code()), ("overlap", "invalid_chunk_overlap"));
        assert!(overlap.to_string().contains("must be below the 64 tokens"));
    }
}
