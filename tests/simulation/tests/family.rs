//! Parents and children, and what was streamed: what must hold of them in the end.

use longhaul_core::{JobId, Status};
use longhaul_store::{Child, JobView, StoreError};

use crate::{executors::streamed, looking::value, network::Asked, world::World};

/// How many children a page holds.
const PAGE: usize = 2;

/// Holds what a job counts of its children against the children, and what it streamed against what it should have.
pub(crate) async fn judge(world: &World, view: &JobView) {
    judge_stream(world, view).await;
    let job = &view.job;
    let id = job.spec.id;
    if job.children.total == 0 {
        return;
    }
    let Some(children) = children(world, view).await else { return };
    let with = |status| children.iter().filter(|child| child.status == status).count() as u32;
    let (succeeded, failed, cancelled) = (with(Status::Succeeded), with(Status::Failed), with(Status::Cancelled));
    let counted = &job.children;
    // Children of which nothing is left are not told of.
    let is_whole = children.len() as u32 == counted.total;
    if is_whole && (counted.succeeded, counted.failed, counted.cancelled) != (succeeded, failed, cancelled) {
        let found = format!("{succeeded} succeeded, {failed} failed, {cancelled} cancelled");
        world.accuse("children miscounted", format!("{id} counts {counted:?}, and {found}"));
    }
    if children.iter().zip(0..).any(|(child, place)| is_whole && child.index != place) {
        world.accuse("children misplaced", format!("{id}: {children:?}"));
    }
    if matches!(job.status(), Status::Failed | Status::Cancelled) && world.book().counts.clock_sets == 0 {
        for child in children {
            judge_orphan(world, view, child.job).await;
        }
    }
}

async fn children(world: &World, view: &JobView) -> Option<Vec<Child>> {
    let (owner, parent) = (view.job.spec.tenant.clone(), view.job.spec.id);
    let asked = world.ask(None, move |server| async move {
        let mut all: Vec<Child> = Vec::new();
        loop {
            let after = all.last().map(|child| child.index);
            let page = server.engine.children(&owner, parent, after, PAGE).await?;
            let is_last = page.len() < PAGE;
            all.extend(page);
            if is_last {
                return Ok::<_, StoreError>(all);
            }
        }
    });
    match asked.await {
        Asked::Answered(Ok(children)) => Some(children),
        other => {
            world.accuse("no answer in the calm", format!("about the children of {parent}: {other:?}"));
            None
        }
    }
}

/// A child of a job that gave up has ended by then, or was told to.
async fn judge_orphan(world: &World, parent: &JobView, child: JobId) {
    let owner = parent.job.spec.tenant.clone();
    let asked = world.ask(None, move |server| async move { server.engine.job(&owner, child).await }).await;
    let Asked::Answered(Ok(child)) = asked else { return };
    let child = &child.job;
    if child.finished_at > parent.job.finished_at && child.cancel_requested_at.is_none() {
        let (parent, status) = (parent.job.spec.id, child.status().as_str());
        world.accuse("child outlived", format!("{} of {parent}, and {status} after its end", child.spec.id));
    }
}

/// What was streamed and stands is the whole output, each piece once, whatever happened in between.
async fn judge_stream(world: &World, view: &JobView) {
    let job = &view.job;
    if job.spec.kind.as_str() != "stream" || job.status() != Status::Succeeded {
        return;
    }
    let (owner, id) = (job.spec.tenant.clone(), job.spec.id);
    let asked = world.ask(None, move |server| async move { server.engine.partial(&owner, id).await }).await;
    let steps = value(&view.input)["steps"].as_u64().unwrap_or(0);
    let wanted = streamed(steps);
    let told = match asked {
        Asked::Answered(Ok(partial)) => partial.and_then(|partial| partial.text),
        other => return world.accuse("no answer in the calm", format!("about the stream of {id}: {other:?}")),
    };
    if told.as_deref() != Some(&wanted) {
        world.accuse("stream torn", format!("{id} gave out {told:?}, not {wanted:?}"));
    }
}
