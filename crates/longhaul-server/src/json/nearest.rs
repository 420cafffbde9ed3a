//! The known name that somebody probably meant.

/// The candidate nearest to `written`, if one is near enough to be a slip: the same letters in another case or with
/// other separators, or a third of them mistyped.
pub fn nearest<'a>(written: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = folded(written);
    // A longer word is no slip of anything known here, and the comparison is quadratic.
    if wanted.is_empty() || wanted.len() > MAX_LENGTH {
        return None;
    }
    let scored = candidates.into_iter().filter_map(|candidate| {
        let known = folded(candidate);
        let allowed = (wanted.len().max(known.len()) / 3).max(1);
        let distance = distance(&wanted, &known);
        (distance <= allowed && distance < known.len()).then_some((distance, candidate))
    });
    scored.min_by_key(|(distance, _)| *distance).map(|(_, candidate)| candidate)
}

/// Letters of a name that is worth comparing.
const MAX_LENGTH: usize = 64;

fn folded(name: &str) -> Vec<char> {
    name.chars().filter(|c| !matches!(c, '_' | '-' | ' ' | '.')).flat_map(char::to_lowercase).collect()
}

/// Insertions, deletions, substitutions and swaps of neighbours between two words (optimal string alignment).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (i, &from) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, &to) in b.iter().enumerate() {
            let mut best = (above[j] + usize::from(from != to)).min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && from == b[j - 1] && a[i - 1] == to {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 6] = ["kind", "input", "priority", "max_attempts", "run_at", "delay_s"];

    #[test]
    fn slips_find_their_word() {
        for (written, meant) in [
            ("prioriti", "priority"),
            ("pirority", "priority"),
            ("maxAttempts", "max_attempts"),
            ("Kind", "kind"),
            ("runat", "run_at"),
            ("delay", "delay_s"),
            ("inptu", "input"),
        ] {
            assert_eq!(nearest(written, KNOWN), Some(meant), "{written}");
        }
    }

    #[test]
    fn other_words_find_none() {
        for written in ["callback_url", "x", "", &"priority".repeat(100)] {
            assert_eq!(nearest(written, KNOWN), None, "{written}");
        }
    }
}
