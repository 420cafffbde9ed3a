INSERT INTO job (
  no, id, tenant, kind, queue, priority, created_at, max_attempts, backoff_initial_ms, backoff_max_ms, retention, run_at,
  deadline_at, attempt_timeout, metadata, metadata_pairs, retry_of,
  score, phase, timer_at, version, attempt, crashes, last_seq, queued_for, due_at, same_attempt, token, worker,
  in_process, node, stage, lease_since, lease_expires_at, started_at, finished_at, cancel_requested_at,
  progress_fraction, progress_message, error, ending, ambiguous, report
)
SELECT
  no, id, tenant, kind, queue, priority, created_at, max_attempts, backoff_initial_ms, backoff_max_ms, retention, run_at,
  deadline_at, attempt_timeout, metadata, metadata_pairs::int8[], retry_of,
  score, phase, timer_at, version, attempt, crashes, last_seq, queued_for, due_at, same_attempt, token, worker,
  in_process, node, stage, lease_since, lease_expires_at, started_at, finished_at, cancel_requested_at,
  progress_fraction, progress_message, error, ending, ambiguous, report
FROM unnest(
  $1::int8[], $2::int8[], $3::int2[], $4::int8[], $5::int8[], $6::int8[], $7::int8[], $8::int8[], $9::int2[],
  $10::int8[], $11::bool[], $12::int8[], $13::text[], $14::bool[], $15::int8[], $16::int2[], $17::int8[], $18::int8[],
  $19::int8[], $20::int8[], $21::int8[], $22::float8[], $23::text[], $24::text[], $25::int2[], $26::bool[], $27::text[],
  $28::uuid[], $29::text[], $30::text[], $31::text[], $32::int2[], $33::int8[], $34::int8[], $35::int8[], $36::int8[],
  $37::int8[], $38::int8[], $39::int8[], $40::int8[], $41::text[], $42::text[], $43::uuid[]
) AS new (
  no, score, phase, timer_at, version, attempt, crashes, last_seq, queued_for, due_at, same_attempt, token, worker,
  in_process, node, stage, lease_since, lease_expires_at, started_at, finished_at, cancel_requested_at,
  progress_fraction, progress_message, error, ending, ambiguous, report,
  id, tenant, kind, queue, priority, created_at, max_attempts, backoff_initial_ms, backoff_max_ms, retention, run_at,
  deadline_at, attempt_timeout, metadata, metadata_pairs, retry_of
)
