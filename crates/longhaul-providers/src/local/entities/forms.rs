//! Entities that are known by their form: addresses, dates, amounts, percentages, telephone numbers.
//!
//! The expressions run in linear time. What an expression cannot say (a month above 12, too few digits for a telephone)
//! is checked afterwards. Word boundaries are those of ASCII: a boundary of Unicode would throw the engine back on its slow
//! path for every text beyond ASCII; the letter before a match is looked at instead.

use std::sync::LazyLock;

use regex::Regex;

use super::Found;
use crate::analysis::EntityKind;

const URL: &str = r#"(?i)(?-u:\b)(?:https?|ftp)://[^\s<>"“”«»]+|(?-u:\b)www\.[^\s<>"“”«»]+\.[^\s<>"“”«»]+"#;

const EMAIL: &str = r"[A-Za-z0-9](?:[A-Za-z0-9._%+-]{0,62}[A-Za-z0-9_+-])?@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,30}[A-Za-z0-9])?\.)+[A-Za-z]{2,24}(?-u:\b)";

const DATE: &str = r"(?ix)
    (?-u:\b)[0-9]{4}-[0-9]{2}-[0-9]{2}(?:T[0-9]{2}:[0-9]{2}(?::[0-9]{2})?(?:\.[0-9]+)?(?:Z|[+-][0-9]{2}:?[0-9]{2})?)?(?-u:\b)
  | (?-u:\b)[0-9]{1,2}[./][0-9]{1,2}[./](?:[0-9]{4}|[0-9]{2})(?-u:\b)
  | [0-9]{4}年[0-9]{1,2}月(?:[0-9]{1,2}日)?
  | (?-u:\b)[0-9]{1,2}(?:st|nd|rd|th|er|\.)?\s+(?:of\s+|de\s+)?
    (?:january|february|march|april|may|june|july|august|september|october|november|december
      |jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec
      |januar|februar|märz|mai|juni|juli|oktober|dezember
      |janvier|février|mars|avril|juin|juillet|août|septembre|octobre|novembre|décembre
      |enero|febrero|marzo|abril|mayo|junio|julio|agosto|septiembre|octubre|noviembre|diciembre)
    (?-u:\b)\.?(?:,?\s+(?:de\s+|del\s+)?[0-9]{4}(?-u:\b))?
  | (?-u:\b)(?:january|february|march|april|may|june|july|august|september|october|november|december
      |jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec)(?-u:\b)\.?\s+(?:[0-9]{1,2}(?:st|nd|rd|th)?(?:,?\s+[0-9]{4})?|[0-9]{4})(?-u:\b)
  | (?-u:\b)(?:januar|februar|märz|mai|juni|juli|oktober|dezember
      |janvier|février|mars|avril|juin|juillet|août|septembre|octobre|novembre|décembre
      |enero|febrero|marzo|abril|mayo|junio|julio|agosto|septiembre|octubre|noviembre|diciembre)
    \s+(?:de\s+)?[0-9]{4}(?-u:\b)";

const MONEY: &str = r"(?ix)
    (?:(?:US|CA|AU|NZ|HK)?\$|[€£¥₹₽₩₺]|(?-u:\b)(?:USD|EUR|GBP|CHF|JPY|CNY|CAD|AUD|INR|SEK|NOK|DKK|PLN)(?-u:\b))\s?
    [0-9]+(?:[.,'’][0-9]+)*(?:\s?(?:million|billion|trillion|thousand|bn|mio|mrd|m|k)(?-u:\b))?
  | (?-u:\b)[0-9]+(?:[.,'’][0-9]+)*\s?(?:(?:million|billion|trillion|thousand|bn|mio\.?|mrd\.?|millionen|milliarden)\s)?
    (?:[€£¥₹₽₩₺]|(?:USD|EUR|GBP|CHF|JPY|CNY|CAD|AUD|INR|SEK|NOK|DKK|PLN|dollars?|euros?|pounds\ssterling|yen|francs?|cents?)(?-u:\b))";

const PERCENT: &str =
    r"(?i)[+\-−]?(?-u:\b)[0-9]+(?:[.,][0-9]+)*\s?(?:%|‰|(?:percent|per cent|prozent|pour cent|por ciento)(?-u:\b))";

const PHONE: &str =
    r"(?:\+[0-9]{1,3}[\s./-]?|(?-u:\b)|\()\(?[0-9]{2,5}\)?(?:[\s./-]{1,2}\(?[0-9]{2,8}\)?){1,6}(?-u:\b)";

const BRACKETS: [(char, char); 4] = [('(', ')'), ('[', ']'), ('{', '}'), ('（', '）')];

static RULES: LazyLock<Vec<(EntityKind, Regex)>> = LazyLock::new(|| {
    let rules = [
        (EntityKind::Url, URL),
        (EntityKind::Email, EMAIL),
        (EntityKind::Date, DATE),
        (EntityKind::Money, MONEY),
        (EntityKind::Percent, PERCENT),
        (EntityKind::Phone, PHONE),
    ];
    // Constant expressions: that each is a valid one is a fact, tested below.
    rules.into_iter().filter_map(|(kind, rule)| Regex::new(rule).ok().map(|rule| (kind, rule))).collect()
});

/// What has a form of its own, in the order of the text, without overlaps.
pub(super) fn find(text: &str) -> Vec<Found> {
    let mut taken: Vec<Found> = Vec::new();
    for (kind, rule) in RULES.iter() {
        let mut found = Vec::new();
        for matched in rule.find_iter(text) {
            let end = matched.start() + trim(*kind, matched.as_str());
            let candidate = Found { start: matched.start(), end, kind: *kind };
            let next = taken.partition_point(|other| other.end <= candidate.start);
            let free = taken.get(next).is_none_or(|other| other.start >= candidate.end);
            if free && plausible(text, candidate) {
                found.push(candidate);
            }
        }
        taken.extend(found);
        taken.sort_by_key(|entity| entity.start);
    }
    taken
}

/// The length of a match without the punctuation of the sentence around it.
fn trim(kind: EntityKind, matched: &str) -> usize {
    if kind != EntityKind::Url {
        return matched.trim_end().len();
    }
    // Counted once and then kept, so that a thousand closing brackets cost no more than a thousand looks.
    let mut surplus: [usize; BRACKETS.len()] = std::array::from_fn(|pair| {
        let (open, close) = BRACKETS[pair];
        matched.matches(close).count().saturating_sub(matched.matches(open).count())
    });
    let mut rest = matched;
    while let Some(last) = rest.chars().next_back() {
        let unpaired = BRACKETS.iter().position(|&(_, close)| close == last).filter(|&pair| surplus[pair] > 0);
        if let Some(pair) = unpaired {
            surplus[pair] -= 1;
        } else if !matches!(last, '.' | ',' | ';' | ':' | '!' | '?' | '\'' | '’' | '"' | '。' | '，' | '、') {
            break;
        }
        rest = &rest[..rest.len() - last.len_utf8()];
    }
    rest.len()
}

fn plausible(text: &str, found: Found) -> bool {
    let matched = &text[found.start..found.end];
    let before = text[..found.start].chars().next_back();
    let in_word = before.is_some_and(char::is_alphanumeric) && matched.starts_with(|c: char| c.is_ascii_alphanumeric());
    if in_word && found.kind != EntityKind::Url {
        return false;
    }
    match found.kind {
        EntityKind::Date => plausible_date(matched),
        EntityKind::Phone => {
            let digits = matched.chars().filter(char::is_ascii_digit).count();
            let marked = matched.starts_with(['+', '0', '(']) || american(matched);
            // A longer number or a version around it would make it something else.
            let inside = before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '.' | ',' | '-' | '/' | '$' | '€'));
            (7..=15).contains(&digits) && marked && !inside
        }
        EntityKind::Url => matched.len() > "www.".len() + 3,
        _ => true,
    }
}

/// Checks the ranges of a date written in digits.
fn plausible_date(matched: &str) -> bool {
    let mut numbers = matched
        .split(|c: char| !c.is_ascii_digit())
        .filter(|part| !part.is_empty())
        .map(|part| part.parse().unwrap_or(0));
    let (first, second, third): (u32, Option<u32>, Option<u32>) =
        (numbers.next().unwrap_or(0), numbers.next(), numbers.next());
    // English months that are everyday words in lower case.
    let word = |part: &str| matches!(part, "may" | "march" | "mar" | "sep" | "dec");
    if matched.split(|c: char| !c.is_alphabetic()).any(word) {
        return false;
    }
    let day = 1..=31;
    if matched.chars().any(char::is_alphabetic) && !matched.contains(['年', 'T', 't'])
        || matched.contains(char::is_whitespace)
    {
        return first >= 1 && (first <= 31 || (1000..=9999).contains(&first));
    }
    match (second, third) {
        (Some(month), Some(last)) if first >= 1000 => (1..=12).contains(&month) && day.contains(&last),
        (Some(month), None) => (1..=12).contains(&month),
        (Some(other), Some(_)) => day.contains(&first) && day.contains(&other) && (first <= 12 || other <= 12),
        (None, _) => false,
    }
}

/// Three, three and four digits, as in North America.
fn american(matched: &str) -> bool {
    let groups: Vec<usize> =
        matched.split(|c: char| !c.is_ascii_digit()).map(str::len).filter(|&len| len > 0).collect();
    groups == [3, 3, 4]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(kind: EntityKind, text: &str) -> Vec<&str> {
        find(text).into_iter().filter(|found| found.kind == kind).map(|found| &text[found.start..found.end]).collect()
    }

    #[test]
    fn every_rule_is_a_valid_expression() {
        assert_eq!(RULES.len(), 6);
    }

    #[test]
    fn addresses_end_before_the_punctuation_around_them() {
        let text = "Read https://example.org/a_(b), (www.example.com/x?y=1). Write to <jo.doe+x@mail.example.co.uk>.";
        assert_eq!(of(EntityKind::Url, text), ["https://example.org/a_(b)", "www.example.com/x?y=1"]);
        assert_eq!(of(EntityKind::Email, text), ["jo.doe+x@mail.example.co.uk"]);
    }

    #[test]
    fn dates_are_found_in_several_languages() {
        let text = "On 2024-02-29, 3 May 2021, March 5th, 2020, in June 1999, am 3. März 2021, le 14 juillet 1789, \
                    3 de mayo de 2024, 31.12.2023, 2024年5月6日.";
        let expected = [
            "2024-02-29",
            "3 May 2021",
            "March 5th, 2020",
            "June 1999",
            "3. März 2021",
            "14 juillet 1789",
            "3 de mayo de 2024",
            "31.12.2023",
            "2024年5月6日",
        ];
        assert_eq!(of(EntityKind::Date, text), expected);
    }

    #[test]
    fn what_only_looks_like_a_date_is_none() {
        assert!(of(EntityKind::Date, "2024-13-01, 45/45/2020, we may 2 go, 1.2.3, 99 may").is_empty());
    }

    #[test]
    fn amounts_and_percentages_are_found() {
        let text = "It cost $1,200.50, then €3 million, 20 EUR or 5 dollars: 12.5 % less, -3% and 7 percent.";
        assert_eq!(of(EntityKind::Money, text), ["$1,200.50", "€3 million", "20 EUR", "5 dollars"]);
        assert_eq!(of(EntityKind::Percent, text), ["12.5 %", "-3%", "7 percent"]);
    }

    #[test]
    fn telephone_numbers_are_told_from_other_numbers() {
        let text =
            "Call +49 30 1234567, (030) 123 45 67, 555-123-4567 or 01 23 45 67 89; ids 1234-5678, 3.14.159, 12345678.";
        assert_eq!(
            of(EntityKind::Phone, text),
            ["+49 30 1234567", "(030) 123 45 67", "555-123-4567", "01 23 45 67 89"]
        );
    }
}
