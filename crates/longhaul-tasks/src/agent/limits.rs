//! Where a run ends: what it has taken, what is left, and which of its limits it has come to.
//!
//! Judged wherever a run is about to take more: before the tools of a turn, whose results must still find a turn that reads
//! them, and before each call of the model but the first. What calls took is known when they have been answered and is
//! kept in the run's steps, so every attempt judges alike. What the next question will take is guessed, and so that the
//! answer has room a call that would spend the rest on its question alone is not made.
//!
//! Counted is what calls of models took: the agent's own, and those of everything that was done for it by its tools, by
//! tools of theirs, and so on. Tools of one turn run at once; none of them is stopped because another has spent much.

use longhaul_core::{JobId, Usage};
use longhaul_engine::{Failure, JobContext};
use serde::Deserialize;

use super::{AgentInput, Finish, KIND};

/// Tokens below which no answer is asked for: little can be said in fewer, and some providers refuse to be asked so.
const ANSWER_LEAST: u64 = 16;

/// What a run has taken so far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Spent {
    /// By calls of the agent's own model.
    pub(super) own: Usage,
    /// By the jobs that its tools are, and by those below them.
    pub(super) tools: Usage,
}

impl Spent {
    fn tokens(&self) -> u64 {
        tokens(&self.own).saturating_add(tokens(&self.tools))
    }

    fn cost_microusd(&self) -> u64 {
        self.own.cost_microusd.saturating_add(self.tools.cost_microusd)
    }
}

/// The limits of a run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    turns: u32,
    tokens: Option<u64>,
    cost_microusd: Option<u64>,
}

impl Limits {
    pub(super) fn of(input: &AgentInput) -> Self {
        Self { turns: input.max_turns, tokens: input.max_tokens, cost_microusd: input.max_cost_microusd }
    }

    /// Whether tokens are limited, so that those of a question are worth guessing.
    pub(super) fn count_tokens(&self) -> bool {
        self.tokens.is_some()
    }

    /// The limit that keeps the tools of this turn from being called. Their results would be read by a question that is
    /// no shorter than the turn's own, which took `asked` tokens.
    pub(super) fn before_tools(&self, turn: u32, spent: &Spent, asked: u64) -> Option<Finish> {
        self.before_call(spent, asked).or((turn >= self.turns).then_some(Finish::MaxTurns))
    }

    /// The limit that keeps the model from being asked something that will take `question` tokens.
    pub(super) fn before_call(&self, spent: &Spent, question: u64) -> Option<Finish> {
        let takes = spent.tokens().saturating_add(question).saturating_add(ANSWER_LEAST);
        if self.tokens.is_some_and(|most| takes > most) {
            return Some(Finish::MaxTokens);
        }
        self.cost_microusd.is_some_and(|most| spent.cost_microusd() >= most).then_some(Finish::MaxCost)
    }

    /// How long the answer to a question of so many tokens may be.
    pub(super) fn answer(&self, spent: &Spent, question: u64) -> Option<u64> {
        let left = |most: u64| most.saturating_sub(spent.tokens()).saturating_sub(question).max(ANSWER_LEAST);
        self.tokens.map(left)
    }
}

/// Whether an answer that ended for its length was cut by the limit that we gave it, and not by the model's own. Some
/// providers stop a little short of what they were given.
pub(super) fn is_cut_by(limit: Option<u64>, took: &Usage) -> bool {
    limit.is_some_and(|limit| took.output_tokens >= limit - limit / 20)
}

/// What a job has taken, and everything that was done for it.
///
/// The usage of an agent's job is that of its own model's calls. Its steps know what its tools have taken, too.
pub(super) async fn spent_by(job: &JobContext, kind: &str, tool: JobId) -> Result<Usage, Failure> {
    if kind != KIND {
        return Ok(job.report_of(tool).await?.map(|report| report.usage).unwrap_or_default());
    }
    let mut sum = Usage::default();
    for step in job.steps_of(tool).await? {
        if has_usage(step.name.as_str()) {
            let kept: Kept = serde_json::from_slice(&job.read(&step.output).await?).unwrap_or_default();
            sum = sum.and(kept.usage);
        }
    }
    Ok(sum)
}

/// What a turn and what a result of a tool have in common, as they are kept.
#[derive(Default, Deserialize)]
struct Kept {
    #[serde(default)]
    usage: Usage,
}

/// `turn:3` and `turn:3:result:0`, and nothing else that an agent keeps.
fn has_usage(step: &str) -> bool {
    let mut parts = step.split(':');
    parts.next() == Some("turn") && parts.next().is_some() && matches!(parts.next(), None | Some("result"))
}

fn tokens(usage: &Usage) -> u64 {
    usage.input_tokens.saturating_add(usage.output_tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(input_tokens: u64, output_tokens: u64, cost_microusd: u64) -> Usage {
        Usage { input_tokens, output_tokens, cost_microusd }
    }

    fn limits(tokens: Option<u64>, cost_microusd: Option<u64>) -> Limits {
        Limits { turns: 3, tokens, cost_microusd }
    }

    #[test]
    fn a_question_that_would_leave_no_room_for_an_answer_is_not_asked() {
        let spent = Spent { own: usage(100, 20, 0), tools: usage(30, 10, 0) };
        let limits = limits(Some(400), None);
        assert_eq!(limits.before_call(&spent, 400 - 160 - ANSWER_LEAST), None);
        assert_eq!(limits.answer(&spent, 400 - 160 - ANSWER_LEAST), Some(ANSWER_LEAST));
        assert_eq!(limits.before_call(&spent, 400 - 160 - ANSWER_LEAST + 1), Some(Finish::MaxTokens));
        assert_eq!(limits.answer(&Spent::default(), 9_999), Some(ANSWER_LEAST), "the first question is always asked");
    }

    #[test]
    fn what_tools_spend_counts_and_the_narrower_limit_is_named() {
        let spent = Spent { own: usage(0, 0, 40), tools: usage(0, 0, 60) };
        assert_eq!(limits(None, Some(100)).before_call(&spent, 1), Some(Finish::MaxCost));
        assert_eq!(limits(None, Some(101)).before_call(&spent, 1), None);
        assert_eq!(limits(None, Some(101)).before_tools(3, &spent, 1), Some(Finish::MaxTurns));
        assert_eq!(limits(None, None).answer(&spent, 1), None);
    }

    #[test]
    fn an_answer_that_took_all_it_was_given_was_cut_by_us() {
        assert!(is_cut_by(Some(100), &usage(0, 100, 0)) && is_cut_by(Some(100), &usage(0, 97, 0)));
        assert!(!is_cut_by(Some(8_000), &usage(0, 4_096, 0)), "the model's own limit");
        assert!(!is_cut_by(None, &usage(0, 4_096, 0)));
    }

    #[test]
    fn only_turns_and_results_are_summed_up() {
        assert!(has_usage("turn:1") && has_usage("turn:12:result:3"));
        for other in ["turn:1:calls", "turn:1:approval:0", "turn:1:approval:0:verdict", "turn", "item:1"] {
            assert!(!has_usage(other), "{other}");
        }
    }
}
