INSERT INTO job (
  no, id, tenant, kind, queue, priority, created_at, max_attempts, backoff_initial_ms, backoff_max_ms, retention, run_at,
  deadline_at, attempt_timeout, metadata, metadata_pairs, retry_of, parent, parent_no, child_index, depth, on_child_failure,
  limit_key, trace, score, phase, timer_at, version, attempt, crashes, last_seq, queued_for, due_at, same_attempt, token, worker,
  in_process, node, stage, lease_since, lease_expires_at, started_at, finished_at, cancel_requested_at,
  progress_fraction, progress_message, error, ending, ambiguous, report,
  children, children_submitted, children_succeeded, children_failed, children_cancelled, answers, last_step_seq,
  last_delta_seq, last_reset_seq, wait, wait_step, wait_prompt, wait_since, trimmed
)
SELECT
  no, id, tenant, kind, queue, priority, created_at, max_attempts, backoff_initial_ms, backoff_max_ms, retention, run_at,
  deadline_at, attempt_timeout, metadata, metadata_pairs::int8[], retry_of, parent, parent_no, child_index, depth, on_child_failure,
  limit_key, trace, score, phase, timer_at, version, attempt, crashes, last_seq, queued_for, due_at, same_attempt, token, worker,
  in_process, node, stage, lease_since, lease_expires_at, started_at, finished_at, cancel_requested_at,
  progress_fraction, progress_message, error, ending, ambiguous, report,
  children, children_submitted, children_succeeded, children_failed, children_cancelled, answers, last_step_seq,
  last_delta_seq, last_reset_seq, wait, wait_step, wait_prompt, wait_since, trimmed
FROM unnest(
  $1::int8[], $2::int8[], $3::int2[], $4::int8[], $5::int8[], $6::int8[], $7::int8[], $8::int8[], $9::int2[],
  $10::int8[], $11::bool[], $12::int8[], $13::text[], $14::bool[], $15::int8[], $16::int2[], $17::int8[], $18::int8[],
  $19::int8[], $20::int8[], $21::int8[], $22::float8[], $23::text[], $24::text[], $25::int2[], $26::bool[], $27::text[],
  $28::int4[], $29::int4[], $30::int4[], $31::int4[], $32::int4[], $33::int4[], $34::int8[], $35::int8[],
  $36::int8[], $37::int2[], $38::text[], $39::text[], $40::int8[], $41::bool[],
  $42::uuid[], $43::text[], $44::text[], $45::text[], $46::int2[], $47::int8[], $48::int8[], $49::int8[],
  $50::int8[], $51::int8[], $52::int8[], $53::int8[], $54::int8[], $55::text[], $56::text[], $57::uuid[],
  $58::uuid[], $59::int8[], $60::int4[], $61::int2[], $62::int2[], $63::int8[], $64::text[]
) AS new (
  no, score, phase, timer_at, version, attempt, crashes, last_seq, queued_for, due_at, same_attempt, token, worker,
  in_process, node, stage, lease_since, lease_expires_at, started_at, finished_at, cancel_requested_at,
  progress_fraction, progress_message, error, ending, ambiguous, report,
  children, children_submitted, children_succeeded, children_failed, children_cancelled, answers, last_step_seq,
  last_delta_seq, last_reset_seq, wait, wait_step, wait_prompt, wait_since, trimmed,
  id, tenant, kind, queue, priority, created_at, max_attempts, backoff_initial_ms, backoff_max_ms, retention, run_at,
  deadline_at, attempt_timeout, metadata, metadata_pairs, retry_of, parent, parent_no, child_index, depth, on_child_failure, limit_key, trace
)
