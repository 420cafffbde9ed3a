//! Who answers: the names that stand in records, and the price.

use std::sync::Arc;

use crate::settings::{Price, TargetSettings};

/// One target, by its names.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Served {
    /// The name that clients ask for.
    pub(crate) model: Arc<str>,
    /// The target within it.
    pub(crate) target: Arc<str>,
    pub(crate) provider: Arc<str>,
    /// The model in the provider's words.
    pub(crate) upstream: Arc<str>,
    pub(crate) price: Option<Price>,
    pub(crate) rank: u32,
}

impl Served {
    pub(crate) fn of(model: &Arc<str>, target: &TargetSettings) -> Arc<Self> {
        Arc::new(Self {
            model: Arc::clone(model),
            target: target.name.as_str().into(),
            provider: target.provider.as_str().into(),
            upstream: target.model.as_str().into(),
            price: target.price,
            rank: target.rank,
        })
    }

    /// The replies that need no model.
    pub(crate) fn canned(model: &Arc<str>) -> Arc<Self> {
        Arc::new(Self {
            model: Arc::clone(model),
            target: "canned".into(),
            provider: "canned".into(),
            upstream: "canned".into(),
            price: None,
            rank: u32::MAX,
        })
    }
}
