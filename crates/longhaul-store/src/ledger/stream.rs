//! What a job has streamed, as one piece.

use longhaul_core::OutputData;

use crate::{PARTIAL_MOST, Partial, StoreError};

/// Puts deltas together, in the order of their numbers. `resets` says what is void: after the first number of a pair
/// and before its second.
pub(crate) fn partial_of(
    deltas: impl Iterator<Item = Result<(u64, OutputData), StoreError>>,
    resets: &[(u64, u64)],
) -> Result<Option<Partial>, StoreError> {
    let (mut partial, mut size) = (Partial::default(), 0);
    for delta in deltas {
        let (seq, data) = delta?;
        if resets.iter().any(|(keep_through, reset)| (keep_through + 1..*reset).contains(&seq)) {
            continue;
        }
        size += data.size();
        if size > PARTIAL_MOST {
            partial.cut = true;
            break;
        }
        partial.through_seq = seq;
        match data {
            OutputData::Text(text) => partial.text.get_or_insert_default().push_str(&text),
            OutputData::Items(items) => partial.items.get_or_insert_default().extend(items),
        }
    }
    Ok((partial.text.is_some() || partial.items.is_some()).then_some(partial))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> OutputData {
        OutputData::Text(text.into())
    }

    #[test]
    fn what_a_reset_makes_void_is_left_out() {
        let deltas = [(2, "a"), (4, "b"), (5, "c"), (8, "d"), (11, "e")].map(|(seq, said)| Ok((seq, text(said))));
        let partial = partial_of(deltas.into_iter(), &[(3, 6), (3, 9)]).unwrap().unwrap();
        assert_eq!((partial.text.as_deref(), partial.through_seq, partial.cut), (Some("ae"), 11, false));
    }

    #[test]
    fn nothing_that_stands_is_nothing() {
        assert_eq!(partial_of([Ok((2, text("a")))].into_iter(), &[(0, 5)]), Ok(None));
    }

    #[test]
    fn more_than_is_given_back_is_cut_between_pieces() {
        let piece = "x".repeat(PARTIAL_MOST / 2);
        let deltas = (1..=3).map(|seq| Ok((seq, text(&piece))));
        let partial = partial_of(deltas, &[]).unwrap().unwrap();
        assert_eq!((partial.text.unwrap().len(), partial.through_seq, partial.cut), (PARTIAL_MOST, 2, true));
    }
}
