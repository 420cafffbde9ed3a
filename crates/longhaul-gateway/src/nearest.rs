//! The known name that a mistyped one was probably meant to be.

/// Letters that are compared; names are shorter, and the comparison is quadratic.
const MAX_CHARS: usize = 64;

/// The candidate with the fewest edits from `name`, if they are few enough to be a slip.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name: Vec<char> = name.chars().flat_map(char::to_lowercase).take(MAX_CHARS).collect();
    let slips = (name.len() / 3).clamp(1, 3);
    candidates
        .into_iter()
        .map(|candidate| (edits(&name, candidate), candidate))
        .filter(|(edits, _)| *edits <= slips)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// Letters to insert, remove, replace, or swap with their neighbour (optimal string alignment).
fn edits(name: &[char], candidate: &str) -> usize {
    let other: Vec<char> = candidate.chars().take(MAX_CHARS).collect();
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for i in 1..=name.len() {
        let mut next = vec![i];
        for j in 1..=other.len() {
            let replaced = row[j - 1] + usize::from(name[i - 1] != other[j - 1]);
            let mut best = replaced.min(row[j] + 1).min(next[j - 1] + 1);
            if i > 1 && j > 1 && name[i - 1] == other[j - 2] && name[i - 2] == other[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            next.push(best);
        }
        before = std::mem::replace(&mut row, next);
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_name_and_a_stranger_finds_none() {
        let known = ["summary", "keywords", "local"];
        for (slip, meant) in [("sumary", "summary"), ("keywrods", "keywords"), ("Local", "local"), ("loca", "local")] {
            assert_eq!(nearest(slip, known), Some(meant), "{slip}");
        }
        assert_eq!(nearest("gpt-4o", known), None);
        assert_eq!(nearest("", known), None);
        assert_eq!(nearest(&"x".repeat(100_000), known), None);
    }
}
