//! `/v1/jobs`: the one job engine. Every other route that makes jobs is a thin preset over this.

pub(crate) mod act;
pub(crate) mod create;
pub(crate) mod read;
pub(crate) mod view;

use longhaul_core::JobId;
use longhaul_engine::store::StoreError;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::problem::{Code, Problem};

/// The job that a path names.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct JobPath {
    /// The job's id.
    pub(crate) job_id: String,
}

impl JobPath {
    /// What is no id names no job: the answer is the same as for an unknown one.
    pub(crate) fn id(&self) -> Result<JobId, Problem> {
        self.job_id.parse().map_err(|_| self.unknown())
    }

    fn unknown(&self) -> Problem {
        let shown: String = self.job_id.chars().take(80).collect();
        Problem::new(Code::NotFound, format!("There is no job {shown}."))
    }

    /// A store's refusal, with the id in it when the job is not there.
    pub(crate) fn missing(&self, error: StoreError) -> Problem {
        match error {
            StoreError::NotFound("job") => self.unknown(),
            other => other.into(),
        }
    }
}
