//! A person's word before a call.
//!
//! The job waits without a worker until somebody answers `{"approve": true}` or `{"approve": false, "comment": "…"}`.
//! One that was given before the question was asked allows nothing, and the question is asked again. Whoever may answer
//! twice, or at the same time as somebody else, names the question with the answer (`?step=` over HTTP).

use longhaul_core::{EventKind, LogLevel, StepName, Wait};
use longhaul_engine::{Failure, JobContext};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{step, turn::Planned, turn::What};

/// How often one question is asked: more than a job can have kept answers, so that these alone cannot exhaust it.
const ASKED_MOST: usize = 50;
/// How far back the question of an answer is looked for: what lies between are a few events of the life of a job.
const EVENTS_BACK: usize = 256;
/// Letters of a call that a person is shown.
const SHOWN_MOST: usize = 2_000;
/// Letters of a comment that the model is told.
const COMMENT_MOST: usize = 4_000;

/// What a person said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Verdict {
    pub(super) approve: bool,
    pub(super) comment: Option<String>,
}

impl Verdict {
    /// As the history tells it.
    fn in_words(&self, tool: &str) -> String {
        let word = if self.approve { "allowed" } else { "not allowed" };
        let comment = self.comment.as_ref().map(|comment| format!(": {comment}")).unwrap_or_default();
        format!("a call of {tool} was {word}{comment}")
    }
}

/// The word of a person on the call at this place of a turn. Until there is one the attempt ends here.
pub(super) async fn verdict(job: &JobContext, turn: u32, place: usize, planned: &Planned) -> Result<Verdict, Failure> {
    let name = format!("turn:{turn}:approval:{place}");
    let decided = step(&format!("{name}:verdict"))?;
    if job.has_step(&decided) {
        return job
            .step(decided, async { Err(Failure::permanent("internal", "a stored verdict was not found")) })
            .await;
    }
    let mut complaint = String::new();
    for asked in 1..=ASKED_MOST {
        let question = if asked == 1 { step(&name)? } else { step(&format!("{name}:{asked}"))? };
        let answer: Value = job.ask(question.clone(), Some(prompt(planned, &complaint))).await?;
        match read(&answer) {
            Err(why) => complaint = format!("The last answer could not be used: {why}. "),
            // A refusal needs no proof: nothing happens.
            Ok(verdict) if !verdict.approve || was_asked_before(job, &question).await? => {
                let told = verdict.in_words(&planned.tool);
                return job
                    .step(decided, async {
                        job.log(LogLevel::Info, format!("{question}: {told}")).await?;
                        Ok(verdict)
                    })
                    .await;
            }
            Ok(_) => {
                complaint = "An approval came before this was asked, and was not taken for an answer. ".to_owned();
                job.log(LogLevel::Warn, format!("{name}: {complaint}")).await?;
            }
        }
    }
    let message =
        format!("{} was asked about {ASKED_MOST} times and never answered in a way that counts", planned.tool);
    Err(Failure::permanent("approval_unanswered", message))
}

/// Whether the job was waiting with the question when the answer came.
async fn was_asked_before(job: &JobContext, question: &StepName) -> Result<bool, Failure> {
    let events = job.last_events(EVENTS_BACK).await?;
    Ok(events.iter().any(|event| match &event.kind {
        EventKind::Waiting { wait: Wait::Input { step, .. } } => step == question,
        _ => false,
    }))
}

fn read(answer: &Value) -> Result<Verdict, String> {
    let Some(fields) = answer.as_object() else {
        return Err("it is no object; say {\"approve\": true} or {\"approve\": false, \"comment\": \"why\"}".to_owned());
    };
    let Some(approve) = fields.get("approve").and_then(Value::as_bool) else {
        return Err("`approve` must be true or false".to_owned());
    };
    let comment = match fields.get("comment") {
        None | Some(Value::Null) => None,
        Some(Value::String(comment)) => Some(comment.chars().take(COMMENT_MOST).collect()),
        Some(_) => return Err("`comment` must be a text".to_owned()),
    };
    Ok(Verdict { approve, comment })
}

fn prompt(planned: &Planned, complaint: &str) -> String {
    let arguments = match &planned.what {
        What::Kind(input) | What::Http(input) => input.to_string(),
        What::Bad(why) => why.clone(),
    };
    let shown = &arguments[..arguments.floor_char_boundary(SHOWN_MOST)];
    let more = if shown.len() < arguments.len() { "…" } else { "" };
    format!("{complaint}May the agent call {} with {shown}{more}?", planned.tool)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_a_clear_word_is_an_answer() {
        let said = |approve: bool, comment: Option<&str>| Ok(Verdict { approve, comment: comment.map(str::to_owned) });
        assert_eq!(read(&json!({"approve": true})), said(true, None));
        assert_eq!(read(&json!({"approve": false, "comment": "too much"})), said(false, Some("too much")));
        for unclear in [json!("yes"), json!({}), json!({"approve": "yes"}), json!({"approve": true, "comment": 1})] {
            assert!(read(&unclear).is_err(), "{unclear}");
        }
    }

    #[test]
    fn a_person_is_shown_what_would_be_called() {
        let planned = Planned {
            call_id: "c".into(),
            tool: "refund".into(),
            what: What::Kind(json!({"cents": 1900, "note": "ä".repeat(5_000)})),
            approval: true,
        };
        let shown = prompt(&planned, "");
        assert!(
            shown.starts_with("May the agent call refund with {\"cents\":1900") && shown.ends_with("…?"),
            "{shown}"
        );
        assert!(shown.len() < 2_100);
    }
}
