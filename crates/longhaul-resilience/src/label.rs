//! Names of stacks, layers and checkpoints, each two bytes wide.
//!
//! A note in the record of a call must cost a few nanoseconds and no allocation, so it carries a [`Label`] instead of
//! text. Labels are interned for the life of the process; there are at most [`Label::CAPACITY`] of them, and names
//! beyond that all become [`Label::OVERFLOW`]. Make labels from names that the program or its configuration fixes,
//! never from the content of requests.

use std::{
    collections::HashMap,
    fmt,
    sync::{LazyLock, PoisonError, RwLock},
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

struct Names {
    by_name: HashMap<&'static str, u16>,
    list: Vec<&'static str>,
}

static NAMES: LazyLock<RwLock<Names>> = LazyLock::new(|| {
    let list = BUILT_IN.to_vec();
    let by_name = list.iter().zip(0u16..).map(|(name, index)| (*name, index)).collect();
    RwLock::new(Names { by_name, list })
});

impl Label {
    /// The most names that one process can hold: two bytes' worth.
    pub const CAPACITY: usize = u16::MAX as usize;
    /// The empty name.
    pub const NONE: Label = Label(0);

    /// The label of `name`, the same for the same name.
    pub fn new(name: &str) -> Label {
        if let Some(&index) = NAMES.read().unwrap_or_else(PoisonError::into_inner).by_name.get(name) {
            return Label(index);
        }
        let mut names = NAMES.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(&index) = names.by_name.get(name) {
            return Label(index);
        }
        let Some(index) = u16::try_from(names.list.len()).ok().filter(|&i| usize::from(i) < Self::CAPACITY) else {
            return Self::OVERFLOW;
        };
        // Leaked on purpose: labels live as long as the process, and CAPACITY bounds them.
        let name: &'static str = Box::leak(name.to_owned().into_boxed_str());
        names.list.push(name);
        names.by_name.insert(name, index);
        Label(index)
    }

    /// The name that this label stands for.
    pub fn as_str(self) -> &'static str {
        let names = NAMES.read().unwrap_or_else(PoisonError::into_inner);
        names.list.get(usize::from(self.0)).copied().unwrap_or("")
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
    fn a_new_name_keeps_its_label() {
        let first = Label::new("a name of this test");
        assert_eq!(first, Label::new("a name of this test"));
        assert_ne!(first, Label::new("another name of this test"));
    }
}
