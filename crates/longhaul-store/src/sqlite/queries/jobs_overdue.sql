SELECT no, tenant, id, kind, queue, priority, phase, version, attempt, crashes, last_seq, created_at, max_attempts,
backoff_initial_ms, backoff_max_ms, retention, run_at, deadline_at, attempt_timeout, metadata, retry_of, queued_for,
due_at, same_attempt, token, worker, in_process, stage, lease_since, lease_expires_at, started_at, finished_at,
cancel_requested_at, progress_fraction, progress_message, error, ending, ambiguous, report, parent, child_index, depth, on_child_failure, children_total, children_submitted, children_succeeded,
children_failed, children_cancelled, answers, last_step_seq, last_delta_seq, last_reset_seq, wait, wait_step, wait_prompt,
limit_key, trace
FROM job WHERE deadline_at IS NOT NULL AND phase IN (-1, 0, 1, 3) AND deadline_at <= ?1 ORDER BY deadline_at LIMIT ?2
