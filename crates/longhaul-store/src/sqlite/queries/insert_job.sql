INSERT INTO job (no, tenant, id, kind, queue, rank, priority, created_at, max_attempts, backoff_initial_ms, backoff_max_ms,
retention, run_at, deadline_at, attempt_timeout, metadata, retry_of, parent, child_index, depth, on_child_failure,
trace, phase, version, attempt, crashes, last_seq,
queued_for, due_at, same_attempt, token, worker, in_process, stage, lease_since, lease_expires_at, started_at,
finished_at, cancel_requested_at, progress_fraction, progress_message, error, ending, ambiguous, report,
children_total, children_submitted, children_succeeded, children_failed, children_cancelled, answers, last_step_seq, last_delta_seq,
last_reset_seq, wait, wait_step, wait_prompt, limit_key)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23,
        ?24, ?25, ?26, ?27, ?28, ?29, ?30, ?31, ?32, ?33, ?34, ?35, ?36, ?37, ?38, ?39, ?40, ?41, ?42, ?43, ?44, ?45,
        ?46, ?47, ?48, ?49, ?50, ?51, ?52, ?53, ?54, ?55, ?56, ?57, ?58)
