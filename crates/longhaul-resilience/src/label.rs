//! Names of stacks, layers and checkpoints, each two bytes wide.
//!
//! A note in the record of a call must cost a few nanoseconds and no allocation, so it carries a [`Label`] instead of
//! text. Labels are interned for the life of the process; there are at most [`Label::CAPACITY`] of them, and names
//! beyond that all become [`Label::OVERFLOW`]. Make labels from names that the program or its configuration fixes,
//! never from the content of requests.

use std::{
    collections::HashMap,
    fmt,
    sync::{LazyLock, OnceLock, PoisonError, RwLock},
};

/// The name of a stack, a layer or a checkpoint.
///
/// ```
/// use longhaul_resilience::Label;
/// assert_eq!(Label::new("summarize"), Label::new("summarize"));
/// assert_eq!(Label::new("summarize").as_str(), "summarize");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Label(u16);

macro_rules! built_in {
    ($($konst:ident = $name:literal),* $(,)?) => {
        const BUILT_IN: &[&str] = &["", $($name),*];
        #[allow(non_camel_case_types, clippy::upper_case_acronyms, reason = "variants only count the constants below")]
        enum Position { _EMPTY, $($konst),* }
        impl Label {
            $(#[doc = concat!("The name `", $name, "`.")] pub const $konst: Label = Label(Position::$konst as u16);)*
        }
    };
}

built_in! {
    OVERFLOW = "(too many labels)",
    STACK = "stack",
    CALL = "call",
    CACHE = "cache",
    DEADLINE = "deadline",
    FALLBACK = "fallback",
    RETRY = "retry",
    BREAKER = "breaker",
    LIMIT = "limit",
    BULKHEAD = "bulkhead",
    ADAPTIVE = "adaptive",
    ATTEMPT_TIMEOUT = "attempt_timeout",
    HEDGE = "hedge",
    PARALLEL = "parallel",
    SEQUENCE = "sequence",
    CHAOS = "chaos",
    MOCK = "mock",
}

static NUMBERS: LazyLock<RwLock<HashMap<&'static str, u16>>> =
    LazyLock::new(|| RwLock::new(BUILT_IN.iter().zip(0..).map(|(name, number)| (*name, number)).collect()));

/// The names that are not built in, by number, in pages that are made when the first name of theirs comes. Read without a
/// lock: a call's record is put into words on every core at once.
static NAMES: [OnceLock<Box<Names>>; PAGES] = [const { OnceLock::new() }; PAGES];

type Names = [OnceLock<&'static str>; PAGE];

const PAGES: usize = 256;
const PAGE: usize = (u16::MAX as usize).div_ceil(PAGES);

/// Where the name with this number stands.
fn place(number: u16) -> Option<&'static OnceLock<&'static str>> {
    let number = usize::from(number);
    NAMES.get(number / PAGE)?.get_or_init(|| Box::new([const { OnceLock::new() }; PAGE])).get(number % PAGE)
}

impl Label {
    /// The most names that one process can hold: two bytes' worth.
    pub const CAPACITY: usize = u16::MAX as usize;
    /// The empty name.
    pub const NONE: Label = Label(0);

    /// The label of `name`, the same for the same name.
    pub fn new(name: &str) -> Label {
        if let Some(&number) = NUMBERS.read().unwrap_or_else(PoisonError::into_inner).get(name) {
            return Label(number);
        }
        let mut numbers = NUMBERS.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(&number) = numbers.get(name) {
            return Label(number);
        }
        let next = u16::try_from(numbers.len()).ok().filter(|&number| usize::from(number) < Self::CAPACITY);
        let Some((number, place)) = next.and_then(|number| Some((number, place(number)?))) else {
            return Self::OVERFLOW;
        };
        // Leaked on purpose: labels live as long as the process, and CAPACITY bounds them.
        let name: &'static str = Box::leak(name.to_owned().into_boxed_str());
        place.get_or_init(|| name);
        numbers.insert(name, number);
        Label(number)
    }

    /// The name that this label stands for.
    pub fn as_str(self) -> &'static str {
        if let Some(name) = BUILT_IN.get(usize::from(self.0)) {
            return name;
        }
        place(self.0).and_then(OnceLock::get).copied().unwrap_or("")
    }

    pub(crate) const fn to_bits(self) -> u16 {
        self.0
    }

    pub(crate) const fn from_bits(bits: u16) -> Self {
        Self(bits)
    }
}

impl From<&str> for Label {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_labels_have_their_names() {
        assert_eq!(Label::NONE.as_str(), "");
        assert_eq!(Label::CACHE.as_str(), "cache");
        assert_eq!(Label::MOCK.as_str(), "mock");
        assert_eq!(Label::new("retry"), Label::RETRY);
    }

    #[test]
    fn every_label_has_a_place_for_its_name() {
        let label = Label::new("one more name of this test");
        assert_eq!(label.as_str(), "one more name of this test");
        assert!(place(0).is_some() && place(u16::MAX - 1).is_some());
        assert_eq!(Label::from_bits(u16::MAX - 1).as_str(), "");
    }

    #[test]
    fn a_new_name_keeps_its_label() {
        let first = Label::new("a name of this test");
        assert_eq!(first, Label::new("a name of this test"));
        assert_ne!(first, Label::new("another name of this test"));
    }
}
