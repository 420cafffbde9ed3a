//! Why a store did not do what it was asked.

use longhaul_core::Refused;

/// Why a store did not do what it was asked. Nothing has changed, unless the variant says that it cannot know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// There is no such thing, or it is another tenant's: the two look the same.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// The state machine refused the step.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The idempotency key was used with another request.
    #[error("the idempotency key was used before with another request")]
    IdempotencyMismatch,
    /// It was erased or has expired: only this is left of it.
    #[error("the job's data is gone")]
    Gone(Box<crate::Tombstone>),
    /// A step of that name is stored with another output.
    #[error("the step is stored already")]
    StepExists,
    /// Too much is waiting to be written.
    #[error("too many writes are waiting")]
    Overloaded,
    /// The disk is full. Reads go on; writes go on by themselves when there is room.
    #[error("the disk is full")]
    StorageFull,
    /// The write may or may not have been made; the store has stopped taking writes.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// What is stored cannot be what was written: damage, or a mistake of ours.
    #[error("the stored data is damaged: {0}")]
    Corrupt(String),
}

/// What a caller can do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// The caller asked for something impossible.
    Caller,
    /// The same may succeed later.
    Transient,
    /// The lease does not hold.
    Fenced,
    /// Somebody must look.
    Bug,
}

impl StoreError {
    /// What the caller can do.
    pub fn class(&self) -> ErrorClass {
        match self {
            StoreError::Refused(Refused::LeaseLost) => ErrorClass::Fenced,
            StoreError::NotFound(_)
            | StoreError::Refused(
                Refused::Cancelling
                | Refused::Terminal
                | Refused::NotQueued
                | Refused::NotDue
                | Refused::NotAsked
                | Refused::AnswersFull
                | Refused::TooManyChildren
                | Refused::NoOccasion,
            )
            | StoreError::IdempotencyMismatch
            | StoreError::Gone(_)
            | StoreError::StepExists => ErrorClass::Caller,
            StoreError::Overloaded | StoreError::StorageFull | StoreError::Unavailable(_) => ErrorClass::Transient,
            StoreError::Corrupt(_) => ErrorClass::Bug,
        }
    }
}
