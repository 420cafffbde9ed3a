//! From what the engine and the store refuse to what a client is told.

use longhaul_core::Refused;
use longhaul_engine::store::{StoreError, Tombstone};
use longhaul_engine::{Finding, Flaw, Rejected};

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
        Refused::Cancelling
        | Refused::Terminal
        | Refused::NotQueued
        | Refused::NotDue
        | Refused::NotAsked
        | Refused::AnswersFull
        | Refused::TooManyChildren => Code::Conflict,
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

/// A refused submit; `at` says where in the request a job stands, `input` is what its input is called there.
pub(crate) fn rejected(error: Rejected, at: impl Fn(usize) -> String, input: &str) -> Problem {
    match error {
        Rejected::Invalid(findings) => invalid_jobs(Vec::new(), findings, at, input),
        Rejected::Store(error) => error.into(),
        Rejected::ShuttingDown => Problem::new(Code::ShuttingDown, "The server is stopping."),
    }
}

/// Everything that is wrong with jobs: fields of theirs, their kinds, their inputs.
pub(crate) fn invalid_jobs(
    mut errors: Vec<FieldError>,
    findings: Vec<Finding>,
    at: impl Fn(usize) -> String,
    input: &str,
) -> Problem {
    let mut unknown = None;
    let others = (errors.len() + findings.len()).saturating_sub(1);
    for Finding { index, below, flaw } in findings {
        let at = |index| format!("{}{below}", at(index));
        match flaw {
            Flaw::UnknownKind { kind, known } => {
                let near = nearest(&kind, known.iter().map(String::as_str));
                let near = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
                let message = format!("is {kind:?}, which is no known kind{near}");
                errors.push(FieldError::new(format!("{}/kind", at(index)), message));
                unknown = Some((kind, known));
            }
            Flaw::Field(flaw) => errors.push(FieldError::new(format!("{}{}", at(index), flaw.pointer), flaw.message)),
            Flaw::Input(flaws) => errors.extend(
                flaws
                    .into_iter()
                    .map(|flaw| FieldError::new(format!("{}{input}{}", at(index), flaw.pointer), flaw.message)),
            ),
        }
    }
    match unknown {
        Some((kind, known)) if others == 0 => {
            let near = nearest(&kind, known.iter().map(String::as_str));
            let near = near.map(|near| format!(" Did you mean `{near}`?")).unwrap_or_default();
            let detail = format!("There is no kind `{kind}`.{near} Known kinds: {}.", known.join(", "));
            let mut problem = Problem::new(Code::UnknownKind, detail);
            problem.set_errors(errors);
            problem.with("known_kinds", known)
        }
        Some((_, known)) => Problem::invalid(Code::InvalidRequest, errors).with("known_kinds", known),
        None => Problem::invalid(Code::InvalidRequest, errors),
    }
}
