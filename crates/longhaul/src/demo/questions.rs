//! What is asked on the ladder: mostly what others have asked before, in their own spelling.

use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};

/// Of ten questions so many are new.
const NEW_OF_TEN: u32 = 3;

/// The first is about the booking that follows.
const FORMS: [&str; 6] = [
    "Is booking {} for a bed or for a seat?",
    "When does the train of booking {} arrive?",
    "May a dog travel on booking {}?",
    "Which coach is booking {} in, please?",
    "Is there a shower for booking {}?",
    "How late may one come with booking {}?",
];

/// So many questions, of which seven in ten repeat an earlier one; the same for the same seed.
pub(super) fn traffic(seed: u64, count: u32) -> Vec<String> {
    let mut dice = StdRng::seed_from_u64(seed);
    let fresh = (count * NEW_OF_TEN).div_ceil(10).max(1);
    let mut is_new: Vec<bool> = (1..count.max(1)).map(|at| at < fresh).collect();
    is_new.shuffle(&mut dice);
    let mut known = 0;
    let mut ask = |is_new: bool| {
        if is_new {
            known += 1;
            return question(known);
        }
        let earlier = question(dice.random_range(1..=known));
        match dice.random_range(0..3) {
            0 => earlier.to_lowercase().replace('?', ""),
            1 => earlier.replace(' ', "  "),
            _ => earlier,
        }
    };
    // Nothing can be repeated before something was asked.
    std::iter::once(true).chain(is_new).map(&mut ask).collect()
}

fn question(booking: u32) -> String {
    let form = FORMS[booking as usize % FORMS.len()];
    form.replace("{}", &booking.to_string())
}

/// Whether the provider is down for the booking that a question is about: one in a hundred.
pub(super) fn is_unlucky(question: &str) -> bool {
    let digits = |c: char| c.is_ascii_digit();
    let number = question.split(|c: char| !digits(c)).find(|word| !word.is_empty());
    number.and_then(|number| number.parse::<u64>().ok()).is_some_and(|number| number % 100 == 37)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// As a cache reads it that looks at words alone.
    fn normalised(question: &str) -> String {
        let plain: String = question.to_lowercase().chars().filter(|c| !c.is_ascii_punctuation()).collect();
        plain.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn seven_in_ten_questions_were_asked_before() {
        for seed in 0..20 {
            let traffic = traffic(seed, 1_000);
            let known: HashSet<String> = traffic.iter().map(|question| normalised(question)).collect();
            assert_eq!((traffic.len(), known.len()), (1_000, 300), "seed {seed}");
        }
    }

    #[test]
    fn the_same_seed_asks_the_same() {
        assert_eq!(traffic(7, 200), traffic(7, 200));
        assert_ne!(traffic(7, 200), traffic(8, 200));
    }

    #[test]
    fn one_booking_in_a_hundred_is_unlucky_however_it_is_spelt() {
        assert_eq!((1..=1_000).filter(|booking| is_unlucky(&question(*booking))).count(), 10);
        assert!(is_unlucky("may  a  dog  travel  on  booking  137"));
        assert!(!is_unlucky("no number at all"));
    }
}
