job.no, job.id, job.tenant, job.kind, job.queue, job.priority, job.created_at, job.max_attempts, job.backoff_initial_ms,
job.backoff_max_ms, job.retention, job.run_at, job.deadline_at, job.attempt_timeout, job.metadata, job.retry_of,
job.phase, job.version, job.attempt, job.crashes, job.last_seq, job.queued_for, job.due_at, job.same_attempt, job.token,
job.worker, job.in_process, job.node, job.stage, job.lease_since, job.lease_expires_at, job.started_at, job.finished_at,
job.cancel_requested_at, job.progress_fraction, job.progress_message, job.error, job.ending, job.ambiguous, job.report,
job.parent, job.parent_no, job.child_index, job.depth, job.on_child_failure, job.children, job.children_submitted,
job.children_succeeded, job.children_failed, job.children_cancelled, job.answers, job.last_step_seq, job.last_delta_seq,
job.last_reset_seq, job.wait, job.wait_step, job.wait_prompt, job.wait_since, job.trimmed, job.limit_key, job.trace
