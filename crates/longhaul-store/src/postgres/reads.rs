//! Reading for everybody but the writer: connections of the pool, each statement by itself a consistent view.

use std::{pin::pin, sync::Arc, time::Duration};

use longhaul_core::{
    ApiKey, Attempt, DocumentId, Event, Job, JobId, KindSpec, Payload, QueueName, Span, Status, Tenant,
};
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::{
    rows::{self, Cells, Stored},
    session::{Connections, Parameter, Session},
};
use crate::{
    Child, Document, JobPage, JobQuery, JobView, PARTIAL_MOST, Partial, StoreError, StoredStep,
    ledger::{Phase, partial_of},
};

/// How many rows a page of jobs looks at, whatever its filters leave: bounds the time of one request to some tens of
/// milliseconds; the cursor goes on behind them.
const LOOKED_AT: i64 = 20_000;

/// From which place in its lane on a job is told no place.
const POSITION_MOST: i64 = 1_000;

/// How often a read whose connection was lost is tried. Twice at least; more often as long as patience lasts.
const TRIES_MOST: u32 = 5;

/// How long to wait before that.
const BETWEEN_TRIES: Duration = Duration::from_millis(50);

/// Reads what has been committed.
#[derive(Clone)]
pub(super) struct Reads {
    pub(super) connections: Connections,
    /// Reads leave connections to the writer, the doorbell and uploads.
    pub(super) places: Arc<Semaphore>,
}

impl Reads {
    /// Reads with a connection. When that is lost another is taken: nothing is changed by asking again.
    async fn with<T, F: Future<Output = Result<T, StoreError>>>(
        &self,
        read: impl Fn(Arc<Session>) -> F,
    ) -> Result<T, StoreError> {
        let closed = |_| StoreError::Unavailable("the store is closed".into());
        let _place = self.places.acquire().await.map_err(closed)?;
        let mut patience = pin!(tokio::time::sleep(self.connections.patience));
        let (mut tries, mut is_over) = (1, false);
        loop {
            let result = match self.connections.session().await {
                Ok(session) => read(Arc::new(session)).await,
                Err(error) => Err(error),
            };
            match result {
                Err(StoreError::Unavailable(_))
                    if tries < if is_over { 2 } else { TRIES_MOST } && !self.connections.pool.is_closed() =>
                {
                    tries += 1;
                    tokio::select! {
                        biased;
                        () = &mut patience, if !is_over => is_over = true,
                        () = tokio::time::sleep(BETWEEN_TRIES) => {}
                    }
                }
                other => return other,
            }
        }
    }

    pub(super) async fn job(&self, tenant: &Tenant, id: JobId) -> Result<JobView, StoreError> {
        self.with(|db| async move {
            let key: [Parameter<'_>; 2] = [&tenant.as_str(), &rows::uuid(&id)];
            let Some(row) = db.row(include_str!("queries/view.sql"), &key).await? else {
                return Err(absent(&db, tenant, id).await?);
            };
            let mut cells = Cells::of(&row);
            let Stored { phase, job, .. } = rows::stored(&mut cells)?;
            let input = cells.payload_or_none()?;
            let output = cells.payload_or_none()?.filter(|_| phase == Phase::Succeeded);
            let input = input.ok_or_else(|| StoreError::Corrupt(format!("{id} has no input")))?;
            Ok(JobView { job, input, output })
        })
        .await
    }

    pub(super) async fn jobs(&self, query: &JobQuery) -> Result<JobPage, StoreError> {
        // Few jobs run, fail or are cancelled: those are found through indexes of their own.
        let window = match query.status {
            Some(Status::Running) => "phase IN (2, 3)",
            Some(Status::Failed | Status::Cancelled) => "phase >= 5",
            Some(Status::Queued | Status::Succeeded) | None => "true",
        };
        let phase = query.status.map(|status| match status {
            Status::Queued => rows::phase_number(Phase::Ready),
            Status::Running => rows::phase_number(Phase::Running),
            Status::Succeeded | Status::Failed | Status::Cancelled => rows::terminal_number(status),
        });
        let pairs: Vec<i64> = query.metadata.iter().map(|(key, value)| rows::pair_hash(key, value)).collect();
        let pairs = (!pairs.is_empty()).then_some(pairs);
        let after = query.created_after.map_or(Uuid::nil(), |at| rows::uuid(&JobId::floor(at)));
        let by_time =
            query.created_before.map_or(Uuid::max(), |at| rows::uuid(&JobId::floor(at + Span::from_millis(1))));
        let before = query.before.map_or(Uuid::max(), |id| rows::uuid(&id)).min(by_time);
        let (list, edge) = (
            include_str!("queries/list.sql").replace("{window}", window),
            include_str!("queries/list_edge.sql").replace("{window}", window),
        );
        let tenant = query.tenant.as_str();
        let (kind, queue) = (query.kind.as_deref(), query.queue.as_deref());
        let created_after = query.created_after.map_or(i64::MIN, |at| at.as_micros());
        let created_before = query.created_before.map_or(i64::MAX, |at| at.as_micros());
        let limit = rows::signed(query.limit as u64);
        let most = limit.saturating_add(1);
        let by: [Parameter<'_>; 11] = [
            &tenant,
            &before,
            &LOOKED_AT,
            &phase,
            &kind,
            &queue,
            &created_after,
            &created_before,
            &pairs,
            &after,
            &most,
        ];
        let by_edge: [Parameter<'_>; 4] = [&tenant, &before, &(LOOKED_AT - 1), &after];
        let (list, edge, by, by_edge) = (&list, &edge, &by, &by_edge);
        self.with(|db| async move {
            let found = db.rows(list, by).await?;
            let jobs = found.iter().map(|row| Ok(rows::stored(&mut Cells::of(row))?.job));
            let mut jobs = jobs.collect::<Result<Vec<Job>, StoreError>>()?;
            if jobs.len() > query.limit {
                jobs.truncate(query.limit);
                let next = jobs.last().map(|job| job.spec.id);
                return Ok(JobPage { jobs, next });
            }
            let next = db.row(edge, by_edge).await?;
            Ok(JobPage { jobs, next: next.map(|row| Cells::of(&row).job_id()).transpose()? })
        })
        .await
    }

    pub(super) async fn events(
        &self,
        tenant: &Tenant,
        id: JobId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Event>, StoreError> {
        let (after, limit) = (rows::signed(after), rows::signed(limit as u64));
        self.with(|db| async move {
            let no = number(&db, tenant, id).await?;
            let found = db.rows(include_str!("queries/events.sql"), &[&no, &after, &limit]).await?;
            found.iter().map(rows::event).collect()
        })
        .await
    }

    pub(super) async fn attempts(&self, tenant: &Tenant, id: JobId) -> Result<Vec<Attempt>, StoreError> {
        let job = self.job(tenant, id).await?.job;
        let mut attempts: Vec<Attempt> = self
            .with(|db| async move {
                let no = number(&db, tenant, id).await?;
                let found = db.rows(include_str!("queries/attempts.sql"), &[&no]).await?;
                found.iter().map(rows::attempt).collect()
            })
            .await?;
        // Read in this order, an attempt that ended in between stands in both; the history's entry is the newer.
        let current = job.last_attempt.as_deref().cloned().or_else(|| running_attempt(&job));
        if let Some(current) = current
            && attempts.iter().all(|attempt| attempt.lease != current.lease)
        {
            attempts.push(current);
        }
        Ok(attempts)
    }

    pub(super) async fn steps(&self, tenant: &Tenant, id: JobId) -> Result<Vec<StoredStep>, StoreError> {
        self.with(|db| async move {
            let no = number(&db, tenant, id).await?;
            let found = db.rows(include_str!("queries/steps.sql"), &[&no]).await?;
            let step = |row| {
                let mut cells = Cells::of(row);
                Ok(StoredStep { name: cells.name()?, output: cells.payload()? })
            };
            found.iter().map(step).collect()
        })
        .await
    }

    /// What its deltas come to, resets applied.
    pub(super) async fn partial(&self, tenant: &Tenant, id: JobId) -> Result<Option<Partial>, StoreError> {
        self.with(|db| async move {
            let key: [Parameter<'_>; 2] = [&tenant.as_str(), &rows::uuid(&id)];
            let Some(row) = db.row(include_str!("queries/partial.sql"), &key).await? else {
                return Err(absent(&db, tenant, id).await?);
            };
            let mut cells = Cells::of(&row);
            let (no, last_delta): (i64, i64) = (cells.next()?, cells.next()?);
            if last_delta == 0 {
                return Ok(None);
            }
            let (mut deltas, mut size, mut after) = (Vec::new(), 0, 0i64);
            // More than is given back need not be read.
            while size <= PARTIAL_MOST {
                let page = db.rows(include_str!("queries/deltas.sql"), &[&no, &after]).await?;
                if page.is_empty() {
                    break;
                }
                for row in &page {
                    let mut cells = Cells::of(row);
                    after = cells.next()?;
                    let data = rows::delta_of(cells.next::<i16>()?.into(), cells.text()?)?;
                    size += data.size();
                    deltas.push((u64::try_from(after).unwrap_or_default(), data));
                }
            }
            // After the deltas: what has been made void meanwhile is left out.
            let resets = db.rows(include_str!("queries/resets.sql"), &[&no]).await?;
            let reset = |row| {
                let mut cells = Cells::of(row);
                Ok((cells.unsigned()?, cells.unsigned()?))
            };
            let resets = resets.iter().map(reset).collect::<Result<Vec<_>, StoreError>>()?;
            partial_of(deltas.into_iter().map(Ok), &resets)
        })
        .await
    }

    pub(super) async fn children(
        &self,
        tenant: &Tenant,
        parent: JobId,
        after: Option<u32>,
        limit: usize,
    ) -> Result<Vec<Child>, StoreError> {
        let (after, limit) = (after.map_or(-1, rows::small), rows::signed(limit as u64));
        self.with(|db| async move {
            let no = number(&db, tenant, parent).await?;
            let found = db.rows(include_str!("queries/children.sql"), &[&no, &after, &limit]).await?;
            found.iter().map(rows::child).collect()
        })
        .await
    }

    /// None when it is not ready, or too many stand before it.
    pub(super) async fn position(&self, tenant: &Tenant, id: JobId) -> Result<Option<u32>, StoreError> {
        self.with(|db| async move {
            let key: [Parameter<'_>; 3] = [&tenant.as_str(), &rows::uuid(&id), &POSITION_MOST];
            let Some(row) = db.row(include_str!("queries/position.sql"), &key).await? else {
                return Err(absent(&db, tenant, id).await?);
            };
            let mut cells = Cells::of(&row);
            let (phase, before) = (rows::phase_of(cells.next()?)?, cells.next::<i64>()?);
            let is_told = phase == Phase::Ready && before < POSITION_MOST;
            Ok(u32::try_from(before).ok().filter(|_| is_told))
        })
        .await
    }

    /// Whether a queue is paused, and how many of its jobs run.
    pub(super) async fn queue(&self, queue: &QueueName) -> Result<(bool, u64), StoreError> {
        self.with(|db| async move {
            let row = db.row(include_str!("queries/queue.sql"), &[&queue.as_str()]).await?;
            let row = row.ok_or_else(|| rows::damaged("queue"))?;
            let mut cells = Cells::of(&row);
            Ok((cells.next()?, u64::try_from(cells.next::<i64>()?).unwrap_or_default()))
        })
        .await
    }

    pub(super) async fn kinds(&self) -> Result<Vec<(Tenant, KindSpec)>, StoreError> {
        self.with(|db| async move {
            let found = db.rows(include_str!("queries/kinds.sql"), &[]).await?;
            let kind = |row| {
                let mut cells = Cells::of(row);
                let tenant = cells.name()?;
                let spec = serde_json::from_str(cells.next()?).map_err(|_| rows::damaged("kind"))?;
                Ok((tenant, spec))
            };
            found.iter().map(kind).collect()
        })
        .await
    }

    pub(super) async fn keys(&self) -> Result<Vec<ApiKey>, StoreError> {
        self.with(|db| async move {
            let found = db.rows(include_str!("queries/keys.sql"), &[]).await?;
            found.iter().map(rows::api_key).collect()
        })
        .await
    }

    pub(super) async fn document(&self, tenant: &Tenant, id: DocumentId) -> Result<Document, StoreError> {
        self.with(|db| async move {
            let key: [Parameter<'_>; 2] = [&tenant.as_str(), &rows::document_uuid(&id)];
            let row = db.row(include_str!("queries/document.sql"), &key).await?;
            let row = row.ok_or(StoreError::NotFound("document"))?;
            let mut cells = Cells::of(&row);
            Ok(Document {
                id,
                tenant: tenant.clone(),
                file_name: cells.text()?,
                content_type: cells.text_or_none()?,
                content: cells.blob()?.ok_or_else(|| rows::damaged("document"))?,
                job: cells.job_id()?,
                created_at: cells.time()?,
            })
        })
        .await
    }

    pub(super) async fn document_part(
        &self,
        tenant: &Tenant,
        id: DocumentId,
        part: &str,
    ) -> Result<Option<Payload>, StoreError> {
        self.with(|db| async move {
            let key: [Parameter<'_>; 3] = [&tenant.as_str(), &rows::document_uuid(&id), &part];
            let row = db.row(include_str!("queries/document_part.sql"), &key).await?;
            row.map(|row| Cells::of(&row).payload()).transpose()
        })
        .await
    }
}

/// The number under which a job of this id stands.
async fn number(db: &Session, tenant: &Tenant, id: JobId) -> Result<i64, StoreError> {
    let key: [Parameter<'_>; 2] = [&tenant.as_str(), &rows::uuid(&id)];
    match db.row(include_str!("queries/job_no.sql"), &key).await? {
        Some(row) => Cells::of(&row).next(),
        None => Err(absent(db, tenant, id).await?),
    }
}

async fn absent(db: &Session, tenant: &Tenant, id: JobId) -> Result<StoreError, StoreError> {
    let key: [Parameter<'_>; 2] = [&tenant.as_str(), &rows::uuid(&id)];
    Ok(match db.row(include_str!("queries/tombstone.sql"), &key).await? {
        Some(row) => StoreError::Gone(Box::new(rows::tombstone(id, &mut Cells::of(&row))?)),
        None => StoreError::NotFound("job"),
    })
}

/// The attempt that runs, as far as the job's row tells.
fn running_attempt(job: &Job) -> Option<Attempt> {
    let lease = job.lease()?;
    Some(Attempt {
        number: job.attempt,
        lease: lease.token.count(),
        started_at: lease.since,
        ended_at: None,
        worker: lease.worker.to_string(),
        ending: None,
        error: None,
        ambiguous: false,
    })
}
