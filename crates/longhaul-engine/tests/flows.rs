//! Parents and children, questions and answers, through the engine.
#![allow(clippy::unwrap_used, reason = "tests")]

mod kit;

use std::sync::{Arc, atomic::Ordering};

use bytes::Bytes;
use kit::{actor, echo, stage};
use longhaul_core::{DEPTH_MOST, KindName, OnChildFailure, Span, Status, StepName, Wait};
use longhaul_engine::{Completed, Completion, FieldError, Finding, Flaw, JobRequest, Rejected, RemoteClaim};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

fn flow(children: Vec<JobRequest>) -> JobRequest {
    JobRequest { children, ..JobRequest::of("flow", "{}") }
}

fn say(what: &str) -> JobRequest {
    JobRequest::of("echo", format!("{what:?}"))
}

fn name(step: &str) -> StepName {
    StepName::new(step).unwrap()
}

#[tokio::test]
async fn a_flow_ends_with_what_its_children_have_come_to_in_their_order() {
    let stage = stage(vec![echo()]).await;
    let inner = flow(vec![say("deep")]);
    let request = JobRequest {
        on_child_failure: Some(OnChildFailure::Partial),
        ..flow(vec![say("a"), say("fail"), inner, say("b")])
    };
    let job = stage.submit(request).await;
    let view = stage.ended(job).await;
    assert_eq!((view.job.status(), view.job.attempt), (Status::Succeeded, 1));
    let output = stage.output(&view).await;
    let results = output["results"].as_array().unwrap();
    let said: Vec<(&Value, &Value)> = results.iter().map(|result| (&result["status"], &result["output"])).collect();
    assert_eq!((said[0], said[3]), ((&json!("succeeded"), &json!("a")), (&json!("succeeded"), &json!("b"))));
    assert_eq!(results[1]["error"], json!({ "code": "told_to", "message": "as told" }));
    assert!(results[1].get("output").is_none() && results[0].get("error").is_none());
    assert_eq!(results[2]["output"]["results"][0]["output"], "deep");
    let ids: Vec<Value> = stage
        .engine
        .children(&stage.tenant, job, None, 9)
        .await
        .unwrap()
        .iter()
        .map(|child| json!(child.job))
        .collect();
    assert_eq!(results.iter().map(|result| result["job_id"].clone()).collect::<Vec<_>>(), ids);
}

#[tokio::test]
async fn a_flow_whose_child_fails_fails_unless_it_takes_parts() {
    let stage = stage(vec![echo()]).await;
    let view = stage.ended(stage.submit(flow(vec![say("fail")])).await).await;
    let error = view.job.error.as_ref().unwrap();
    assert_eq!((view.job.status(), error.code.as_str()), (Status::Failed, "child_failed"));
    assert!(error.message.contains("told_to"), "{}", error.message);
    assert_eq!(stage.output(&*stage.ended(stage.submit(flow(vec![])).await).await).await, json!({ "results": [] }));
}

#[tokio::test]
async fn a_parent_of_another_kind_finds_its_childrens_outputs_in_its_input() {
    let stage = stage(vec![echo()]).await;
    let request = |input: &str, children: Vec<JobRequest>| JobRequest {
        children,
        on_child_failure: Some(OnChildFailure::Partial),
        ..JobRequest::of("echo", input.to_owned())
    };
    let view = stage.ended(stage.submit(request(r#" {"own": 1} "#, vec![say("a"), say("b")])).await).await;
    assert_eq!(stage.output(&view).await, json!({ "own": 1, "children": ["a", "b"] }));
    assert_eq!(stage.engine.payload(&view.input).await.unwrap(), r#" {"own": 1} "#, "what was given is shown");
    let job = stage.submit(request("{}", vec![say("fail"), say("b")])).await;
    let output = stage.output(&*stage.ended(job).await).await;
    assert_eq!((&output["children"], &output["child_errors"][1]), (&json!([null, "b"]), &Value::Null));
    let missing = &output["child_errors"][0];
    assert_eq!((&missing["status"], &missing["error"]["code"]), (&json!("failed"), &json!("told_to")));
}

#[tokio::test]
async fn outputs_that_are_too_much_together_fail_their_parent_and_say_so() {
    let large =
        actor("large", |_, _| Box::pin(async move { Ok(Completed::with(format!("\"{}\"", "x".repeat(9 << 20)))) }));
    let stage = stage(vec![echo(), large]).await;
    for kind in ["flow", "echo"] {
        let children = (0..4).map(|_| JobRequest::of("large", "1")).collect();
        let view = stage.ended(stage.submit(JobRequest { children, ..JobRequest::of(kind, "{}") }).await).await;
        assert_eq!(view.job.error.as_ref().unwrap().code, "children_too_large");
    }
}

async fn refused(request: JobRequest) -> Vec<Finding> {
    let stage = stage(vec![echo()]).await;
    let requests = vec![say("fine"), request];
    assert!(!stage.engine.examine(&stage.tenant, &requests).is_empty());
    match stage.engine.submit(&stage.tenant, requests, None).await {
        Err(Rejected::Invalid(findings)) => findings,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_is_wrong_below_is_named_with_its_place() {
    let unknown = JobRequest::of("ehco", "1");
    let findings = refused(flow(vec![say("a"), flow(vec![say("b"), unknown.clone()]), unknown])).await;
    let places: Vec<(usize, &str)> = findings.iter().map(|finding| (finding.index, finding.below.as_str())).collect();
    assert_eq!(places, [(1, "/children/2"), (1, "/children/1/children/1")]);
    assert!(findings.iter().all(|finding| matches!(finding.flaw, Flaw::UnknownKind { .. })));
}

#[tokio::test]
async fn a_tree_is_neither_too_deep_nor_too_large() {
    let deep = |depth: u8| (0..depth).fold(say("leaf"), |below, _| flow(vec![below]));
    let stage = stage(vec![echo()]).await;
    assert_eq!(stage.ended(stage.submit(deep(DEPTH_MOST)).await).await.job.status(), Status::Succeeded);
    let findings = refused(deep(DEPTH_MOST + 1)).await;
    assert_eq!((findings.len(), findings[0].below.as_str()), (1, "/children/0".repeat(8).as_str()));
    let Flaw::Field(FieldError { pointer, message }) = &findings[0].flaw else { panic!() };
    assert_eq!((pointer.as_str(), message.contains("8 deep")), ("/children", true));
    let wide = |count: usize| flow(vec![flow(vec![say("a"); count]), flow(vec![say("a"); 5_000])]);
    assert_eq!(refused(wide(4_999)).await[0].below, "/children/1");
    assert!(stage.engine.examine(&stage.tenant, &[wide(4_998)]).is_empty());
}

#[tokio::test]
async fn an_input_to_which_children_cannot_be_added_is_refused() {
    for (input, pointer) in [("[1]", ""), ("\"{}\"", ""), ("{\"children\": 1}", "/children")] {
        let findings = refused(JobRequest { children: vec![say("a")], ..JobRequest::of("echo", input) }).await;
        let Flaw::Input(errors) = &findings[0].flaw else { panic!() };
        assert_eq!(errors[0].pointer, pointer);
    }
}

#[tokio::test]
async fn a_deadline_reaches_the_children() {
    let stuck = actor("stuck", |_, _| Box::pin(std::future::pending()));
    let stage = stage(vec![echo(), stuck]).await;
    use longhaul_core::Clock as _;
    let deadline_at = Some(stage.clock.now() + Span::from_secs(5));
    let later =
        JobRequest { deadline_at: deadline_at.map(|at| at + Span::from_secs(5)), ..JobRequest::of("stuck", "1") };
    let sooner =
        JobRequest { deadline_at: Some(stage.clock.now() + Span::from_secs(2)), ..JobRequest::of("stuck", "1") };
    let request = JobRequest {
        deadline_at,
        on_child_failure: Some(OnChildFailure::Partial),
        ..flow(vec![JobRequest::of("stuck", "1"), later, sooner.clone()])
    };
    let job = stage.submit(request).await;
    let children = stage.engine.children(&stage.tenant, job, None, 9).await.unwrap();
    let mut deadlines = Vec::new();
    for child in &children {
        deadlines.push(stage.look(child.job).await.job.spec.deadline_at);
    }
    assert_eq!(deadlines, [deadline_at, deadline_at, sooner.deadline_at]);
    let view = stage.ended(job).await;
    assert_eq!(view.job.status(), Status::Failed);
    stage.ended(children[0].job).await;
}

#[tokio::test]
async fn children_that_an_attempt_takes_in_are_taken_in_once_and_waited_for_without_a_worker() {
    let parent = actor("parent", |job, _| {
        Box::pin(async move {
            let children = ["1", "2", "3"].map(|n| JobRequest::of("patient", n)).to_vec();
            let ids = job.spawn(name("parts"), children).await?;
            let done = job.wait_for_children().await?;
            assert_eq!(done.iter().map(|child| child.job).collect::<Vec<_>>(), ids);
            let mut sum = 0;
            for child in &done {
                let output = job.read(child.output.as_ref().unwrap()).await?;
                sum += serde_json::from_slice::<u32>(&output).unwrap();
            }
            Completed::json(&sum)
        })
    });
    let gate = Arc::new(Semaphore::new(0));
    let gated = gate.clone();
    let patient = actor("patient", move |job, _| {
        let gate = gated.clone();
        Box::pin(async move {
            gate.acquire().await.unwrap().forget();
            Ok(Completed::with(job.input().clone()))
        })
    });
    let stage = stage(vec![patient, parent.clone()]).await;
    let job = stage.submit(JobRequest::of("parent", "null")).await;
    stage.until(async || stage.look(job).await.job.wait().cloned()).await;
    assert_eq!(stage.look(job).await.job.lease(), None);
    gate.add_permits(3);
    let view = stage.ended(job).await;
    assert_eq!((stage.output(&view).await, view.job.attempt), (json!(6), 1));
    assert_eq!((parent.runs.load(Ordering::SeqCst), view.job.children.total), (2, 3));
}

#[tokio::test]
async fn children_that_cannot_be_run_are_an_error_of_their_parent() {
    let parent = actor("parent", |job, _| {
        Box::pin(async move {
            let child = JobRequest::of("ehco", "1");
            job.spawn(name("parts"), vec![say("a"), child]).await?;
            Completed::json(&1)
        })
    });
    let stage = stage(vec![echo(), parent]).await;
    let view = stage.ended(stage.submit(JobRequest::of("parent", "null")).await).await;
    let error = view.job.error.as_ref().unwrap();
    assert_eq!(
        (error.code.as_str(), error.message.as_str()),
        ("child_invalid", "/1/kind is \"ehco\", which is no known kind")
    );
}

fn asker() -> Arc<kit::Actor> {
    actor("asker", |job, _| {
        Box::pin(async move {
            let first: String = job.ask(name("name"), Some("What is your name?".into())).await?;
            let again: String = job.ask(name("quest"), None).await?;
            Completed::json(&format!("{first} seeks {again}"))
        })
    })
}

#[tokio::test]
async fn a_question_waits_for_its_answer_and_an_early_answer_for_its_question() {
    let asker = asker();
    let stage = stage(vec![asker.clone()]).await;
    let job = stage.submit(JobRequest::of("asker", "null")).await;
    stage.until(async || stage.look(job).await.job.wait().cloned()).await;
    for said in ["\"Galahad\"", "\"the grail\""] {
        stage.engine.answer(&stage.tenant, job, None, Bytes::from(said)).await.unwrap();
    }
    let view = stage.ended(job).await;
    assert_eq!(stage.output(&view).await, json!("Galahad seeks the grail"));
    assert_eq!((asker.runs.load(Ordering::SeqCst), view.job.attempt), (3, 1));
}

#[tokio::test]
async fn a_retried_flow_runs_its_children_again() {
    let stage = stage(vec![echo()]).await;
    let request = flow(vec![say("a"), flow(vec![say("fail")])]);
    let job = stage.submit(request).await;
    assert_eq!(stage.ended(job).await.job.status(), Status::Failed);
    let again = stage.engine.retry(&stage.tenant, job, None).await.unwrap().unwrap().jobs[0];
    let view = stage.ended(again).await;
    assert_eq!((view.job.status(), view.job.children.total, view.job.spec.retry_of), (Status::Failed, 2, Some(job)));
    let children = stage.engine.children(&stage.tenant, again, None, 9).await.unwrap();
    assert_eq!(stage.look(children[1].job).await.job.children.total, 1);
}

#[tokio::test]
async fn a_worker_elsewhere_gets_outputs_and_steps_and_can_wait() {
    let stage = stage(vec![echo()]).await;
    stage.engine.register_kind(&stage.tenant, kit::spec("far")).await.unwrap().unwrap();
    let job = stage.submit(JobRequest { children: vec![say("a")], ..JobRequest::of("far", "{}") }).await;
    let claim = async || {
        let claim = RemoteClaim {
            tenant: stage.tenant.clone(),
            worker: "elsewhere".into(),
            kinds: [KindName::new("far").unwrap()].into(),
            queues: None,
            limit: 4,
            lease_for: Span::from_secs(30),
        };
        // It waits while time passes, however long the store takes.
        let claimed = stage.engine.claim(claim, Span::from_secs(1));
        tokio::pin!(claimed);
        loop {
            tokio::select! {
                biased;
                found = &mut claimed => break found.unwrap().pop(),
                () = stage.pass() => {}
            }
        }
    };
    let first = stage.until(&claim).await;
    assert_eq!(first.input, r#"{"children":["a"]}"#);
    let held = first.held.clone();
    stage
        .engine
        .checkpoint(held.clone(), name("one"), Bytes::from("7"), longhaul_core::Usage::default())
        .await
        .unwrap();
    let wait = Completion::Waiting(Wait::Input { step: name("ok"), prompt: None });
    assert_eq!(stage.engine.complete(held.clone(), wait, longhaul_core::Usage::default()).await, Ok(Status::Running));
    assert!(stage.engine.beat(held.clone(), Span::from_secs(9), None).await.is_err());
    stage.engine.answer(&stage.tenant, job, None, Bytes::from("true")).await.unwrap();
    let second = stage.until(&claim).await;
    let steps: Vec<(&str, &[u8])> = second.steps.iter().map(|(name, json)| (name.as_str(), &json[..])).collect();
    assert_eq!(steps, [("one", &b"7"[..]), ("ok", b"true")]);
    let done = Completion::Succeeded(Bytes::from("1"), Box::default());
    assert_eq!(stage.engine.complete(second.held, done, longhaul_core::Usage::default()).await, Ok(Status::Succeeded));
}

#[tokio::test]
async fn a_remote_claim_that_finds_nothing_ends_in_time() {
    let stage = stage(vec![echo()]).await;
    let claim = RemoteClaim {
        tenant: stage.tenant.clone(),
        worker: "elsewhere".into(),
        kinds: [KindName::new("far").unwrap()].into(),
        queues: None,
        limit: 4,
        lease_for: Span::from_secs(30),
    };
    let claimed = stage.engine.claim(claim, Span::from_secs(20));
    tokio::pin!(claimed);
    let found = loop {
        tokio::select! {
            biased;
            found = &mut claimed => break found,
            () = stage.pass() => {}
        }
    };
    assert!(found.unwrap().is_empty());
}
