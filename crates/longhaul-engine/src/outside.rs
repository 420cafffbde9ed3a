//! What the way to a worker elsewhere needs: leases that come back when their answer was never sent, and results that
//! are held to the schema of their kind.

use longhaul_core::Span;
use longhaul_store::{Held, StoreError};

use crate::{Engine, FieldError, RemoteClaim, RemoteJob};

/// The least time that a claim is given to be answered in: one that would not wait has to pass through a commit, too.
const CLAIM_LEAST: Span = Span::from_millis(100);

/// Jobs that were leased for an answer. Unless [`Granted::delivered`] is called they are given back, at no cost to them:
/// a client that hangs up in the wrong moment leaves nobody waiting for a lease to run out.
#[must_use = "what is dropped is given back"]
pub struct Granted {
    /// The jobs.
    pub jobs: Vec<RemoteJob>,
    engine: Engine,
    is_delivered: bool,
}

impl Granted {
    /// The answer is on its way: from now on only the worker or the end of the leases gives the jobs back.
    pub fn delivered(&mut self) {
        self.is_delivered = true;
    }
}

impl Drop for Granted {
    fn drop(&mut self) {
        if !self.is_delivered && !self.jobs.is_empty() {
            self.engine.give_back(self.jobs.drain(..).map(|job| job.held).collect());
        }
    }
}

impl Engine {
    /// Whether this process runs built-in kinds itself.
    pub fn runs_built_in(&self) -> bool {
        self.inner.options.concurrency > 0
    }

    /// Leases jobs for an answer that may not reach its client.
    pub async fn lend(&self, claim: RemoteClaim, at_most: Span) -> Result<Granted, StoreError> {
        let jobs = self.claim(claim, at_most.max(CLAIM_LEAST)).await?;
        Ok(Granted { jobs, engine: self.clone(), is_delivered: false })
    }

    /// What is wrong with an output, by the schema that its job's kind was registered with; nothing, when it fits.
    pub async fn examine_output(&self, held: &Held, output: &str) -> Result<Vec<FieldError>, StoreError> {
        if !self.inner.kinds.checks_outputs(&held.tenant) {
            return Ok(Vec::new());
        }
        let view = self.inner.store.job(&held.tenant, held.job).await?;
        let known = self.inner.kinds.find(&held.tenant, &view.job.spec.kind);
        Ok(known.map(|known| known.check_output(output)).unwrap_or_default())
    }
}
