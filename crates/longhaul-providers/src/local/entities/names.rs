//! Capitalised names, with a type where a word of the name or before it gives one away.

use std::collections::HashSet;

use super::super::sentences::{self, Sentence};
use super::super::words::{self, is_unspaced, lower};
use super::super::{gazetteer, language, stopwords};
use super::Found;
use crate::analysis::EntityKind;

/// Words of a name.
const MAX_NAME_WORDS: usize = 6;

struct Token<'a> {
    start: usize,
    end: usize,
    raw: &'a str,
    lower: String,
    capital: bool,
}

/// How the words of a text are written in it.
struct Habits {
    /// Seen in lower case somewhere: a capital at the start of a sentence proves nothing.
    in_lower_case: HashSet<String>,
    /// Seen with a capital inside a sentence.
    inside: HashSet<String>,
    stop: &'static HashSet<&'static str>,
    /// Every noun has a capital, so a capital alone proves nothing.
    capital_nouns: bool,
}

/// Names in the order of the text, without overlaps.
pub(super) fn find(text: &str) -> Vec<Found> {
    let sentences: Vec<(Sentence, Vec<Token>)> =
        sentences::split(text).into_iter().map(|sentence| (sentence, tokens(sentence))).collect();
    let habits = habits(text, &sentences);
    let mut found = Vec::new();
    for (sentence, tokens) in &sentences {
        let capitals = tokens.iter().filter(|token| token.capital).count();
        // In a heading every word may have a capital.
        let heading = sentence.fragment && tokens.len() >= 4 && capitals * 3 >= tokens.len() * 2;
        let shouting =
            tokens.len() >= 4 && tokens.iter().filter(|token| all_capitals(token.raw)).count() * 2 > tokens.len();
        if !heading && !shouting {
            names_of(text, tokens, sentence.fragment, &habits, &mut found);
        }
    }
    found
}

fn tokens(sentence: Sentence<'_>) -> Vec<Token<'_>> {
    words::with_offsets(sentence.text)
        .map(|(at, raw)| Token {
            start: sentence.start + at,
            end: sentence.start + at + raw.len(),
            raw,
            lower: lower(raw),
            capital: raw.chars().next().is_some_and(char::is_uppercase) && !raw.chars().any(is_unspaced),
        })
        .collect()
}

fn habits(text: &str, sentences: &[(Sentence, Vec<Token>)]) -> Habits {
    let code = language::reliable(text).unwrap_or("en");
    let mut in_lower_case = HashSet::new();
    let mut inside = HashSet::new();
    for (_, tokens) in sentences {
        for (index, token) in tokens.iter().enumerate() {
            if !token.capital {
                in_lower_case.insert(token.lower.clone());
            } else if index > 0 {
                inside.insert(token.lower.clone());
            }
        }
    }
    let stop = stopwords::of(code).unwrap_or_else(stopwords::english);
    Habits { in_lower_case, inside, stop, capital_nouns: matches!(code, "de" | "lb") }
}

fn names_of(text: &str, tokens: &[Token], fragment: bool, habits: &Habits, found: &mut Vec<Found>) {
    let mut index = 0;
    while index < tokens.len() {
        if !tokens[index].capital {
            index += 1;
            continue;
        }
        let end = name_end(text, tokens, index);
        found.extend(read_name(tokens, index, end, fragment, habits));
        index = end;
    }
}

/// Where the run of capitalised words that starts here ends, particles between them included.
fn name_end(text: &str, tokens: &[Token], from: usize) -> usize {
    let mut end = from + 1;
    while end < tokens.len() && end - from < MAX_NAME_WORDS {
        // A title opens a name of its own: "Yesterday Dr. Quill".
        if !joined(text, &tokens[end - 1], &tokens[end]) || opens(tokens, end) {
            break;
        }
        if tokens[end].capital {
            end += 1;
            continue;
        }
        // One or two particles, if a capitalised word follows them: "Bank of the West".
        let particles = tokens[end..].iter().take(3).take_while(|token| is_particle(token)).count();
        let after = end + particles;
        let follows = particles > 0
            && takes_particle(&tokens[from..end], &tokens[end])
            && tokens.get(after).is_some_and(|token| token.capital && !gazetteer::is_title(&token.lower))
            && (end..=after).all(|at| joined(text, &tokens[at - 1], &tokens[at]));
        if !follows {
            break;
        }
        end = after + 1;
    }
    end
}

/// True if a name may go on with this particle. "Of" and "the" follow one word ("Bank of"), or one of an organisation.
fn takes_particle(words: &[Token], particle: &Token) -> bool {
    let last = &words[words.len() - 1].lower;
    let english = matches!(particle.lower.as_str(), "of" | "the");
    let organisation = gazetteer::starts_organisation(last) || gazetteer::ends_organisation(last);
    !english || words.len() == 1 || organisation
}

/// True for a title that is not itself preceded by one ("Prof. Dr. Quill").
fn opens(tokens: &[Token], at: usize) -> bool {
    let title = |at: usize| tokens[at].capital && gazetteer::is_title(&tokens[at].lower);
    title(at) && !title(at - 1)
}

fn is_particle(token: &Token) -> bool {
    !token.capital && gazetteer::PARTICLES.contains(&token.lower.as_str())
}

/// True if two words stand in one name: nothing between them but a space, a hyphen, or the stop of an initial or title.
fn joined(text: &str, left: &Token, right: &Token) -> bool {
    let between = &text[left.end..right.start];
    let short = left.raw.chars().count() == 1 || gazetteer::is_title(&left.lower);
    match between {
        " " | "-" | "\u{a0}" | " & " => true,
        // A line in capitals is a heading, and what follows it is not its name.
        "\n" => !all_capitals(left.raw),
        ". " | "." => short,
        _ => false,
    }
}

/// The name in a run of words, if there is one.
fn read_name(tokens: &[Token], from: usize, to: usize, fragment: bool, habits: &Habits) -> Option<Found> {
    let (mut from, mut titled) = (from, false);
    while from < to {
        let token = &tokens[from];
        let next = tokens[from + 1..to].first();
        let ranked = gazetteer::is_rank(&token.lower);
        let title = next
            .is_some_and(|next| gazetteer::is_title(&token.lower) || (ranked && gazetteer::is_given_name(&next.lower)));
        let common_start =
            from == 0 && habits.in_lower_case.contains(&token.lower) && !gazetteer::is_given_name(&token.lower);
        let no_name = habits.stop.contains(token.lower.as_str()) || stopwords::english().contains(token.lower.as_str());
        if title {
            titled = true;
        } else if !(no_name || common_start || gazetteer::is_calendar_or_nationality(&token.lower)) {
            break;
        }
        from += 1;
    }
    let mut to = to;
    while to > from && (!tokens[to - 1].capital || gazetteer::is_calendar_or_nationality(&tokens[to - 1].lower)) {
        to -= 1;
    }
    let words = tokens.get(from..to).filter(|words| !words.is_empty())?;
    let kind = if titled { EntityKind::Person } else { kind_of(words) };
    let at_start = from == 0 || fragment;
    if kind == EntityKind::Name && !vouched(words, at_start, habits) {
        return None;
    }
    Some(Found { start: words[0].start, end: words[words.len() - 1].end, kind })
}

/// The type that the words of a name give away.
fn kind_of(words: &[Token]) -> EntityKind {
    let (first, last) = (words[0].lower.as_str(), words[words.len() - 1].lower.as_str());
    let several = words.len() > 1;
    let whole = words.iter().map(|word| word.lower.as_str()).collect::<Vec<_>>().join(" ");
    if gazetteer::is_place(&whole) {
        EntityKind::Location
    } else if several && (gazetteer::ends_organisation(last) || gazetteer::starts_organisation(first)) {
        EntityKind::Organization
    } else if several && (gazetteer::ends_place(last) || gazetteer::starts_place(first)) {
        EntityKind::Location
    } else if gazetteer::is_given_name(first) && words.len() <= 4 {
        EntityKind::Person
    } else {
        EntityKind::Name
    }
}

/// True if a capital is proof enough that this is a name.
fn vouched(words: &[Token], at_start: bool, habits: &Habits) -> bool {
    let capitals = words.iter().filter(|word| word.capital).count();
    if capitals > 1 {
        // Where nouns have capitals, "Namen der Seite" is no name and "Berliner Philharmoniker" may be one.
        return !habits.capital_nouns || (capitals == words.len() && !at_start);
    }
    let only = &words[0];
    let letters = only.raw.chars().count();
    if all_capitals(only.raw) {
        return (2..=6).contains(&letters);
    }
    let proven = !at_start || (habits.inside.contains(&only.lower) && !habits.in_lower_case.contains(&only.lower));
    letters > 1 && proven && !habits.capital_nouns
}

fn all_capitals(word: &str) -> bool {
    let mut letters = word.chars().filter(|c| c.is_alphabetic()).peekable();
    letters.peek().is_some() && letters.all(char::is_uppercase) && word.chars().count() > 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<(&str, EntityKind)> {
        find(text).into_iter().map(|found| (&text[found.start..found.end], found.kind)).collect()
    }

    #[test]
    fn names_have_the_type_that_their_words_give_away() {
        let text = "Yesterday Dr. Harriet Quill left the University of Uppsala for Lisbon, where Thomas Berg runs \
                    Harbour Analytics Ltd near Lake Orta.";
        let expected = [
            ("Harriet Quill", EntityKind::Person),
            ("University of Uppsala", EntityKind::Organization),
            ("Lisbon", EntityKind::Location),
            ("Thomas Berg", EntityKind::Person),
            ("Harbour Analytics Ltd", EntityKind::Organization),
            ("Lake Orta", EntityKind::Location),
        ];
        let found = names(text);
        for pair in expected {
            assert!(found.contains(&pair), "{pair:?} in {found:?}");
        }
    }

    #[test]
    fn the_first_word_of_a_sentence_needs_another_witness() {
        assert!(names("Rain fell. Nobody came.").is_empty());
        assert_eq!(names("Rain fell on Zanthia. Zanthia was wet.").len(), 2);
        assert_eq!(names("The boats and the rain. Rain fell."), []);
    }

    #[test]
    fn german_nouns_are_no_names() {
        let text =
            "Der Hund von Frau Lindner lief durch die Stadt und fand einen Knochen unter dem alten Tisch in Berlin.";
        assert_eq!(names(text), [("Lindner", EntityKind::Person), ("Berlin", EntityKind::Location)]);
    }

    #[test]
    fn names_end_where_another_begins() {
        let text = "Then Dr. Thomas Berg of the University of Uppsala met General Anna Quill and the General Assembly.";
        let expected = [
            ("Thomas Berg", EntityKind::Person),
            ("University of Uppsala", EntityKind::Organization),
            ("Anna Quill", EntityKind::Person),
            ("General Assembly", EntityKind::Name),
        ];
        assert_eq!(names(text), expected);
    }

    #[test]
    fn headings_and_shouting_are_no_names() {
        assert_eq!(names("The Long Way Home Again\n\nit was late."), []);
        assert_eq!(names("DO NOT TOUCH THE LAMP!"), []);
    }

    #[test]
    fn scripts_without_capitals_yield_nothing() {
        assert_eq!(names("東京は日本の首都です。محمد يعيش في القاهرة."), []);
    }
}
