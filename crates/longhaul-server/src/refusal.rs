//! From what the engine and the store refuse to what a client is told.

use longhaul_core::Refused;
use longhaul_engine::Rejected;
use longhaul_engine::store::{StoreError, Tombstone};

use crate::{
    json::nearest,
    problem::{Code, FieldError, Problem},
};

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound(what) => Problem::new(Code::NotFound, format!("There is no such {what}.")),
            StoreError::Gone(tombstone) => gone(&tombstone),
            StoreError::Refused(refused) => refused_step(refused),
            StoreError::IdempotencyMismatch => Problem::new(
                Code::IdempotencyMismatch,
                "This Idempotency-Key was used before with another body. Use a new key for a new request.",
            ),
            StoreError::StepExists => Problem::new(Code::AlreadyExists, "The step is stored with another output."),
            StoreError::Overloaded => {
                Problem::new(Code::Overloaded, "Too many writes are waiting. Try again in a moment.")
            }
            StoreError::StorageFull => Problem::new(
                Code::StorageFull,
                "The disk is full: nothing was stored. Reading goes on; writing resumes when there is room.",
            ),
            StoreError::Unavailable(why) => {
                tracing::error!(why, "the store is unavailable");
                Problem::new(Code::StoreUnavailable, "The store cannot be reached.")
            }
            StoreError::Corrupt(why) => {
                tracing::error!(why, "stored data is damaged");
                Problem::new(Code::Internal, "What is stored cannot be read. The server's log says more.")
            }
        }
    }
}

fn refused_step(refused: Refused) -> Problem {
    let code = match refused {
        Refused::LeaseLost => Code::LeaseLost,
        Refused::NoOccasion => Code::NotTerminal,
        Refused::Cancelling | Refused::Terminal | Refused::NotQueued | Refused::NotDue => Code::Conflict,
    };
    let detail = match refused {
        Refused::NoOccasion => "The job has not ended. Wait for it, or cancel it first.".to_owned(),
        other => format!("This cannot be done now: {other}."),
    };
    Problem::new(code, detail)
}

fn gone(tombstone: &Tombstone) -> Problem {
    let (code, why) = match tombstone.erased {
        true => (Code::Erased, "was erased on request"),
        false => (Code::Expired, "was removed when its retention time had passed"),
    };
    Problem::new(code, format!("The data of {} {why}.", tombstone.job))
        .with("job_id", tombstone.job.to_string())
        .with("job_status", tombstone.status.as_str())
        .with("finished_at", tombstone.finished_at.to_string())
}

/// Where in the request a job stands: its fields are named from there.
pub(crate) fn rejected(error: Rejected, at: impl Fn(usize) -> String) -> Problem {
    match error {
        Rejected::UnknownKind { index, kind, known } => {
            let near = nearest(&kind, known.iter().map(String::as_str));
            let near = near.map(|near| format!(" Did you mean `{near}`?")).unwrap_or_default();
            let detail = format!("There is no kind `{kind}`.{near} Known kinds: {}.", known.join(", "));
            let field = FieldError::new(format!("{}/kind", at(index)), format!("is {kind:?}, which is no known kind"));
            let mut problem = Problem::new(Code::UnknownKind, detail);
            problem.set_errors(vec![field]);
            problem.with("known_kinds", known)
        }
        Rejected::Input { index, errors } => {
            let base = format!("{}/input", at(index));
            let errors =
                errors.into_iter().map(|error| FieldError::new(format!("{base}{}", error.pointer), error.message));
            Problem::invalid(Code::InvalidRequest, errors.collect())
        }
        Rejected::Store(error) => error.into(),
        Rejected::ShuttingDown => Problem::new(Code::ShuttingDown, "The server is stopping."),
    }
}
