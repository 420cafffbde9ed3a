//! The calls of tools of one turn, carried out.
//!
//! Calls of kinds become children, all of those that need nobody's word at once; requests to HTTP tools are made
//! meanwhile, side by side. Then a person is asked about the calls that want it, one after the other, and what is allowed
//! begins at once. Only when there is nothing left to do does the agent wait for its children, without a worker. Each
//! result is a step, and is what the model is told.

use futures::future::join_all;
use longhaul_core::{JobId, Status, Usage};
use longhaul_engine::{Failure, JobContext, JobRequest, store::Child};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Run,
    approval::{Verdict, verdict},
    http::Called,
    limits::spent_by,
    output::ToolStatus,
    step,
    turn::{Planned, Turn, What},
};

/// Calls of one turn that are carried out.
const CALLS_MOST: usize = 64;
/// Bytes of a result that a model is told: some 16,000 tokens.
const RESULT_MOST: usize = 64 * 1024;
/// Bytes of a result that an event carries.
const RESULT_SHOWN: usize = 2_000;

/// A call that has ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Done {
    /// What the model is told.
    pub(super) content: String,
    pub(super) status: ToolStatus,
    #[serde(default)]
    pub(super) job_id: Option<JobId>,
    /// What a tool that calls models took, with everything below it.
    #[serde(default)]
    pub(super) usage: Usage,
}

impl Done {
    fn saying(status: ToolStatus, content: impl Into<String>) -> Self {
        Self { content: content.into(), status, job_id: None, usage: Usage::default() }
    }
}

impl Run<'_> {
    /// What each call of a turn came to, in their order.
    pub(super) async fn carry_out(&self, number: u32, turn: &Turn) -> Result<Vec<Done>, Failure> {
        let calls: Vec<(usize, &Planned)> = turn.planned.iter().enumerate().collect();
        let mut jobs: Vec<Option<JobId>> = vec![None; calls.len()];
        let is_free = |(place, planned): &&(usize, &Planned)| *place < CALLS_MOST && !planned.approval;
        let free: Vec<(usize, &Value)> = calls.iter().filter(is_free).filter_map(input_of_kind).collect();
        if !free.is_empty() {
            let requests =
                free.iter().map(|(place, input)| JobRequest::of(calls[*place].1.tool.as_str(), input.to_string()));
            let spawned = self.job.spawn(step(&format!("turn:{number}:calls"))?, requests.collect()).await?;
            for ((place, _), job) in free.iter().zip(spawned) {
                jobs[*place] = Some(job);
            }
        }
        let requests = calls.iter().filter(is_free).map(|(place, planned)| self.at_once(number, *place, planned));
        let mut done: Vec<Option<Done>> = vec![None; calls.len()];
        for (place, result) in join_all(requests).await.into_iter().flatten() {
            done[place] = Some(result?);
        }
        for (place, planned) in calls.iter().filter(|(place, planned)| *place < CALLS_MOST && planned.approval) {
            let said = verdict(self.job, number, *place, planned).await?;
            if !said.approve {
                done[*place] = Some(refused(said));
            } else if let Some((_, input)) = input_of_kind(&(*place, *planned)) {
                let request = JobRequest::of(planned.tool.as_str(), input.to_string());
                let spawned = self.job.spawn(step(&format!("turn:{number}:call:{place}"))?, vec![request]).await?;
                jobs[*place] = spawned.first().copied();
            } else if let Some((_, result)) = self.at_once(number, *place, planned).await {
                done[*place] = Some(result?);
            }
        }
        self.gather(number, &calls, &jobs, &mut done).await?;
        let too_many = || format!("too many calls at once: {CALLS_MOST} are carried out in one turn; make it again");
        Ok(done.into_iter().map(|done| done.unwrap_or_else(|| Done::saying(ToolStatus::Invalid, too_many()))).collect())
    }

    /// The results of what is no job; none for what is one.
    async fn at_once(&self, number: u32, place: usize, planned: &Planned) -> Option<(usize, Result<Done, Failure>)> {
        match &planned.what {
            What::Kind(_) => None,
            What::Bad(why) => Some((place, Ok(Done::saying(ToolStatus::Invalid, why.as_str())))),
            What::Http(input) => Some((place, self.call_http(number, place, planned, input).await)),
        }
    }

    async fn call_http(&self, number: u32, place: usize, planned: &Planned, input: &Value) -> Result<Done, Failure> {
        let name = step(&format!("turn:{number}:result:{place}"))?;
        let Some(tool) = self.toolbox.http(&planned.tool) else {
            return Err(Failure::permanent("unknown_tool", format!("there is no tool `{}`", planned.tool)));
        };
        let key = self.job.effect_key(&name);
        self.job
            .step(name, async {
                let done = match tool.call(&**self.job.clock(), input, &key).await {
                    Called::Answered(text) => Done::saying(ToolStatus::Succeeded, cut(text)),
                    Called::Failed(why) => Done::saying(ToolStatus::Failed, cut(why)),
                };
                self.tell(number, planned, &done).await?;
                Ok(done)
            })
            .await
    }

    /// The results of the jobs, once all of them have ended.
    async fn gather(
        &self,
        number: u32,
        calls: &[(usize, &Planned)],
        jobs: &[Option<JobId>],
        done: &mut [Option<Done>],
    ) -> Result<(), Failure> {
        let mut children: Option<Vec<Child>> = None;
        for (place, planned) in calls {
            let Some(job_id) = jobs[*place] else { continue };
            let name = step(&format!("turn:{number}:result:{place}"))?;
            if !self.job.has_step(&name) && children.is_none() {
                children = Some(self.job.wait_for_children().await?);
            }
            let child = children.iter().flatten().find(|child| child.job == job_id);
            let result = self.job.step(name, async {
                let mut result = match child {
                    Some(child) => result_of(self.job, &planned.tool, child).await?,
                    None => Done::saying(ToolStatus::Failed, "the job of this call is gone"),
                };
                result.job_id = Some(job_id);
                self.tell(number, planned, &result).await?;
                Ok(result)
            });
            done[*place] = Some(result.await?);
        }
        Ok(())
    }

    /// Tells those who follow the job what a call came to.
    async fn tell(&self, number: u32, planned: &Planned, done: &Done) -> Result<(), Failure> {
        let content = &done.content[..done.content.floor_char_boundary(RESULT_SHOWN)];
        let mut item = json!({
            "type": "tool_result", "turn": number, "call_id": planned.call_id, "tool": planned.tool,
            "status": done.status.as_str(), "content": content,
        });
        if content.len() < done.content.len() {
            item["cut"] = true.into();
        }
        if let Some(job_id) = done.job_id {
            item["job_id"] = job_id.to_string().into();
        }
        self.job.emit_item(&item).await
    }
}

fn input_of_kind<'a>((place, planned): &(usize, &'a Planned)) -> Option<(usize, &'a Value)> {
    match &planned.what {
        What::Kind(input) => Some((*place, input)),
        What::Http(_) | What::Bad(_) => None,
    }
}

fn refused(said: Verdict) -> Done {
    let why = said.comment.map(|comment| format!(": {comment}")).unwrap_or_default();
    Done::saying(ToolStatus::Refused, format!("a person did not allow this call{why}"))
}

async fn result_of(job: &JobContext, kind: &str, child: &Child) -> Result<Done, Failure> {
    let mut done = match (child.status, &child.output, &child.error) {
        (Status::Succeeded, Some(output), _) => {
            let json = job.read(output).await?;
            // A text is told as it is, and not as JSON would quote it.
            let text = serde_json::from_slice::<String>(&json);
            let text = text.unwrap_or_else(|_| String::from_utf8_lossy(&json).trim().to_owned());
            Done::saying(ToolStatus::Succeeded, cut(text))
        }
        (Status::Succeeded, None, _) => Done::saying(ToolStatus::Failed, "its output is not kept any more"),
        (Status::Cancelled, ..) => Done::saying(ToolStatus::Cancelled, "the call was cancelled"),
        (Status::Queued | Status::Running | Status::Failed, _, Some(error)) => {
            Done::saying(ToolStatus::Failed, cut(format!("{}: {}", error.code, error.message)))
        }
        (Status::Queued | Status::Running | Status::Failed, _, None) => {
            Done::saying(ToolStatus::Failed, "the call failed")
        }
    };
    done.usage = spent_by(job, kind, child.job).await?;
    Ok(done)
}

fn cut(text: String) -> String {
    if text.len() <= RESULT_MOST {
        return text;
    }
    let end = text.floor_char_boundary(RESULT_MOST);
    format!("{}\n[cut here: the result has {} bytes, of which these are the first {end}]", &text[..end], text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_result_is_cut_between_letters_and_says_so() {
        let told = cut("ä".repeat(40_000));
        assert!(told.len() < RESULT_MOST + 100 && told.contains("has 80000 bytes"), "{}", told.len());
        assert_eq!(cut("short".into()), "short");
    }
}
