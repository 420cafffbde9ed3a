//! The engine within a program: typed handlers over real files.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use async_trait::async_trait;
use longhaul_embedded::{Error, Failure, Handler, JobContext, Longhaul, StartError, core::StepName};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Sum {
    numbers: Vec<u32>,
}

async fn add(sum: Sum) -> Result<u32, Failure> {
    Ok(sum.numbers.iter().sum())
}

/// Counts how often each of its steps is done, and fails once between them.
struct Counted(Arc<[AtomicU32; 2]>);

#[async_trait]
impl Handler for Counted {
    type Input = ();
    type Output = (u32, u32);

    async fn run(&self, job: &JobContext, (): ()) -> Result<(u32, u32), Failure> {
        let count = |at: usize| self.0[at].fetch_add(1, Ordering::SeqCst) + 1;
        let first = job.step(StepName::new("first").unwrap(), async { Ok(count(0)) }).await?;
        let second = count(1);
        if second == 1 {
            let plan = longhaul_embedded::core::RetryPlan::After(longhaul_embedded::core::Span::ZERO);
            let error = longhaul_embedded::core::JobError::transient("told_to", "once");
            return Err(Failure::Job { error: Box::new(error), plan, ambiguous: false });
        }
        Ok((first, second))
    }
}

#[tokio::test]
async fn a_typed_function_runs_and_its_result_comes_back_typed() {
    let home = tempfile::tempdir().unwrap();
    let longhaul = Longhaul::builder(home.path()).handle("sum", add).start().await.unwrap();
    let job = longhaul.submit("sum", &Sum { numbers: vec![1, 2, 3] }).await.unwrap();
    assert_eq!(longhaul.result::<u32>(job).await.unwrap(), 6);
    longhaul.shutdown().await;
}

#[tokio::test]
async fn an_input_of_another_type_is_refused_and_named() {
    let home = tempfile::tempdir().unwrap();
    let longhaul = Longhaul::builder(home.path()).handle("sum", add).start().await.unwrap();
    let refused = longhaul.submit("sum", &serde_json::json!({"numbers": [1, "two"]})).await.unwrap_err();
    assert!(matches!(&refused, Error::Input(errors) if errors[0].pointer == "/numbers/1"), "{refused}");
    let refused = longhaul.submit("difference", &1).await.unwrap_err();
    assert!(matches!(&refused, Error::UnknownKind(kind) if kind == "difference"), "{refused}");
    longhaul.shutdown().await;
}

#[tokio::test]
async fn a_step_is_done_once_over_all_attempts() {
    let home = tempfile::tempdir().unwrap();
    let handler = Counted(Arc::default());
    let longhaul = Longhaul::builder(home.path()).handler("counted", handler).start().await.unwrap();
    let job = longhaul.submit("counted", &()).await.unwrap();
    assert_eq!(longhaul.result::<(u32, u32)>(job).await.unwrap(), (1, 2));
    longhaul.shutdown().await;
}

#[tokio::test]
async fn a_failure_is_told_with_its_code() {
    let home = tempfile::tempdir().unwrap();
    let fails = |(): ()| async { Err::<(), _>(Failure::permanent("no_such_file", "cat.png is not there")) };
    let longhaul = Longhaul::builder(home.path()).handle("fails", fails).start().await.unwrap();
    let job = longhaul.submit("fails", &()).await.unwrap();
    let failed = longhaul.result::<()>(job).await.unwrap_err();
    assert_eq!(failed.to_string(), "the job failed: no_such_file: cat.png is not there");
    longhaul.shutdown().await;
}

#[tokio::test]
async fn what_was_submitted_is_run_by_the_next_start() {
    let home = tempfile::tempdir().unwrap();
    let idle = Longhaul::builder(home.path()).handle("sum", add).concurrency(0).start().await.unwrap();
    let job = idle.submit("sum", &Sum { numbers: vec![4, 5] }).await.unwrap();
    let twice = Longhaul::builder(home.path()).handle("sum", add).start().await.err().unwrap();
    assert!(matches!(twice, StartError::Open(_)), "a directory is one program's: {twice}");
    idle.shutdown().await;
    drop(idle);
    let longhaul = Longhaul::builder(home.path()).handle("sum", add).start().await.unwrap();
    assert_eq!(longhaul.result::<u32>(job).await.unwrap(), 9);
    longhaul.shutdown().await;
}

#[tokio::test]
async fn handlers_that_cannot_be_are_refused_at_the_start() {
    let home = tempfile::tempdir().unwrap();
    let twice = Longhaul::builder(home.path()).handle("sum", add).handle("sum", add).start().await.err().unwrap();
    assert_eq!(twice.to_string(), "two handlers were given for the kind sum");
    let named = Longhaul::builder(home.path()).handle("a sum", add).start().await.err().unwrap();
    assert!(named.to_string().contains("\"a sum\" must not contain ' '"), "{named}");
}
