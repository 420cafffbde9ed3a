job.no, job.id, job.tenant, job.kind, job.queue, job.priority, job.created_at, job.max_attempts, job.backoff_initial_ms,
job.backoff_max_ms, job.retention, job.run_at, job.deadline_at, job.attempt_timeout, job.metadata, job.retry_of,
job.phase, job.version, job.attempt, job.crashes, job.last_seq, job.queued_for, job.due_at, job.same_attempt, job.token,
job.worker, job.in_process, job.node, job.stage, job.lease_since, job.lease_expires_at, job.started_at, job.finished_at,
job.cancel_requested_at, job.progress_fraction, job.progress_message, job.error, job.ending, job.ambiguous, job.report
