//! Recommended settings by name, so that three lines make a useful model.

use std::time::Duration;

use longhaul_resilience::{OVERALL_TIMEOUT, Operation, Scenario};

/// A set of defaults for a model and its targets.
///
/// `standard` has every layer: the answers of an hour, two minutes in all, three retries, a breaker, 30 s an attempt.
/// The others are the same with the attempt time-out recommended for what they are named after.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Preset {
    /// Everything on.
    #[default]
    Standard,
    /// Everything on, with the time-out of an operation.
    For(Operation),
}

impl Preset {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        std::iter::once(Self::Standard).chain(Operation::ALL.into_iter().map(Self::For))
    }

    /// The name in configuration files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::For(operation) => operation.name(),
        }
    }

    /// The preset of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::all().find(|preset| preset.name() == name)
    }

    /// How long one attempt may take.
    pub const fn attempt_timeout(self) -> Duration {
        match self {
            Self::Standard => Operation::Gpt4.attempt_timeout(),
            Self::For(operation) => operation.attempt_timeout(),
        }
    }

    /// How long the whole call may take.
    pub const fn timeout(self) -> Duration {
        OVERALL_TIMEOUT
    }

    /// What is cached: an hour, 10,000 answers.
    pub const fn scenario(self) -> Scenario {
        Scenario::UserQuery
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preset_is_found_by_its_name() {
        assert!(Preset::all().all(|preset| Preset::from_name(preset.name()) == Some(preset)));
        assert_eq!(Preset::from_name("claude").unwrap().attempt_timeout(), Duration::from_secs(45));
        assert_eq!(Preset::from_name("standrd"), None);
    }
}
