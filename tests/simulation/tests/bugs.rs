//! Bugs that are put in on purpose, one at a time, to show that the judgement would find them.

use longhaul_store::simulation::Defect;

/// A broken promise of the store or the disk below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bug {
    /// A write is acknowledged before it is durable.
    AcksBeforeCommit,
    /// A number of an event is given out twice.
    ReusesSeq,
    /// A job whose backoff is over is never found again.
    ForgetsRetries,
    /// A store that opens does not look for jobs that were running.
    ForgetsRunning,
    /// A repeated request is not recognised by its key.
    ForgetsKeys,
    /// A step is stored again with another output.
    ForgetsSteps,
    /// A deadline passes, and nobody notices.
    ForgetsDeadlines,
    /// Whoever has lost a lease may go on writing.
    DoesNotFence,
    /// A lease is granted and never reaches whoever claimed.
    DropsGrants,
    /// A cancel is accepted and nothing comes of it.
    IgnoresCancels,
    /// Children go on although their parent has given up.
    ForgetsChildren,
    /// An answer is acknowledged and nothing comes of it.
    IgnoresAnswers,
    /// A piece of the output is stored twice.
    AppendsTwice,
    /// A pause is acknowledged and nothing comes of it.
    IgnoresPauses,
    /// A store that opens does not know what has started under a rate.
    ForgetsStarts,
    /// A job that a limit has held back is never found again.
    ForgetsBlocked,
}

impl Bug {
    pub(crate) const ALL: [Bug; 16] = [
        Bug::AcksBeforeCommit,
        Bug::ReusesSeq,
        Bug::ForgetsRetries,
        Bug::ForgetsRunning,
        Bug::ForgetsKeys,
        Bug::ForgetsSteps,
        Bug::ForgetsDeadlines,
        Bug::DoesNotFence,
        Bug::DropsGrants,
        Bug::IgnoresCancels,
        Bug::ForgetsChildren,
        Bug::IgnoresAnswers,
        Bug::AppendsTwice,
        Bug::IgnoresPauses,
        Bug::ForgetsStarts,
        Bug::ForgetsBlocked,
    ];

    /// The disk's part in it, when the bug is the disk's.
    pub(crate) fn defect(self) -> Option<Defect> {
        match self {
            Bug::AcksBeforeCommit => Some(Defect::AcksBeforeSync),
            Bug::ReusesSeq => Some(Defect::ReusesSeq),
            Bug::ForgetsRetries => Some(Defect::ForgetsRetries),
            Bug::ForgetsRunning => Some(Defect::ForgetsRunning),
            Bug::ForgetsKeys => Some(Defect::ForgetsKeys),
            Bug::ForgetsSteps => Some(Defect::ForgetsSteps),
            Bug::ForgetsDeadlines => Some(Defect::ForgetsDeadlines),
            Bug::ForgetsChildren => Some(Defect::ForgetsChildren),
            Bug::ForgetsStarts => Some(Defect::ForgetsStarts),
            Bug::ForgetsBlocked => Some(Defect::ForgetsBlocked),
            Bug::DoesNotFence
            | Bug::DropsGrants
            | Bug::IgnoresCancels
            | Bug::IgnoresAnswers
            | Bug::AppendsTwice
            | Bug::IgnoresPauses => None,
        }
    }
}
