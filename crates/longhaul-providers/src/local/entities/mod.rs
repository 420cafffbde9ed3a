//! Entities by rules: what has a form of its own ([`forms`]: addresses, dates, amounts), then capitalised names
//! ([`names`]) in what is left.
//!
//! Nothing overlaps: where two rules claim the same letters, the earlier rule and then the earlier place wins. Names are
//! found by their capitals, so scripts without capitals yield none, and German, where every noun has one, yields only
//! names that a list or a second capitalised word vouches for.

mod forms;
mod names;

use crate::analysis::{Entity, EntityKind};

/// Entities of one answer; a text that lists more is a table, and belongs into a database.
const MAX_ENTITIES: usize = 1_000;

/// An entity with offsets in bytes, before they are counted out in scalar values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Found {
    start: usize,
    end: usize,
    kind: EntityKind,
}

/// At most a thousand entities, in the order of the text.
pub(super) fn entities(text: &str) -> Vec<Entity> {
    let mut found = forms::find(text);
    let names = names::find(text);
    let formed = found.clone();
    let free = |name: &Found| {
        let next = formed.partition_point(|form| form.end <= name.start);
        formed.get(next).is_none_or(|form| form.start >= name.end)
    };
    found.extend(names.into_iter().filter(free));
    found.sort_by_key(|entity| entity.start);
    found.truncate(MAX_ENTITIES);
    count_out(text, &found)
}

/// Turns byte offsets into scalar-value offsets in one pass over the text.
fn count_out(text: &str, found: &[Found]) -> Vec<Entity> {
    let (mut byte, mut scalar) = (0, 0);
    let mut entities = Vec::with_capacity(found.len());
    for entity in found {
        scalar += text[byte..entity.start].chars().count();
        byte = entity.start;
        let words = &text[entity.start..entity.end];
        let end = scalar + words.chars().count();
        entities.push(Entity { text: words.to_owned(), kind: entity.kind, start: scalar, end });
    }
    entities
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_count_scalar_values_and_point_at_the_entity() {
        let text = "Ünï 😀 schrieb: anna@example.org zahlte 20 € am 3. März 2021 in Köln.";
        let found = entities(text);
        let letters: Vec<char> = text.chars().collect();
        for entity in &found {
            assert_eq!(letters[entity.start..entity.end].iter().collect::<String>(), entity.text);
        }
        let kinds: Vec<_> = found.iter().map(|entity| entity.kind).collect();
        assert_eq!(kinds, [EntityKind::Email, EntityKind::Money, EntityKind::Date, EntityKind::Location], "{found:?}");
    }

    #[test]
    fn nothing_overlaps() {
        let text = "See https://www.example.org/Paris?on=2024-01-02&by=a@b.example for Paris, 02/03/2024 and $5, 10 %.";
        let found = entities(text);
        assert!(found.windows(2).all(|pair| pair[0].end <= pair[1].start), "{found:?}");
        assert_eq!(found[0].text, "https://www.example.org/Paris?on=2024-01-02&by=a@b.example");
    }

    #[test]
    fn a_list_without_end_is_cut() {
        assert_eq!(entities(&"a@example.org ".repeat(3_000)).len(), MAX_ENTITIES);
    }
}
