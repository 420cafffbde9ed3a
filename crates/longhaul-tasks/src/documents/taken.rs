//! What calls to models have taken, as the steps of a job keep it.

use longhaul_core::Usage;
use longhaul_gateway::CallRecord;
use serde::{Deserialize, Serialize};

use crate::{asked::plus, llm::call};

/// What one call or several have taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Taken {
    /// Tokens, and what they cost.
    pub(super) spent: Usage,
    /// Another than the model's first target has answered.
    pub(super) degraded: bool,
}

impl Taken {
    pub(super) fn of(record: &CallRecord) -> Self {
        let report = call::report(record);
        Self { spent: report.usage, degraded: report.degraded }
    }

    pub(super) fn and(self, other: Self) -> Self {
        Self { spent: plus(self.spent, other.spent), degraded: self.degraded || other.degraded }
    }
}
