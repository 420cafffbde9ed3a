UPDATE job
SET score = new.score, phase = new.phase, timer_at = new.timer_at, version = new.version, attempt = new.attempt,
    crashes = new.crashes, last_seq = new.last_seq, queued_for = new.queued_for, due_at = new.due_at,
    same_attempt = new.same_attempt, token = new.token, worker = new.worker, in_process = new.in_process,
    node = new.node, stage = new.stage, lease_since = new.lease_since, lease_expires_at = new.lease_expires_at,
    started_at = new.started_at, finished_at = new.finished_at, cancel_requested_at = new.cancel_requested_at,
    progress_fraction = new.progress_fraction, progress_message = new.progress_message, error = new.error,
    ending = new.ending, ambiguous = new.ambiguous, report = new.report,
    children = new.children, children_submitted = new.children_submitted, children_succeeded = new.children_succeeded, children_failed = new.children_failed, children_cancelled = new.children_cancelled, answers = new.answers, last_step_seq = new.last_step_seq, last_delta_seq = new.last_delta_seq, last_reset_seq = new.last_reset_seq, wait = new.wait, wait_step = new.wait_step, wait_prompt = new.wait_prompt, wait_since = new.wait_since, trimmed = new.trimmed
FROM unnest(
  $1::int8[], $2::int8[], $3::int2[], $4::int8[], $5::int8[], $6::int8[], $7::int8[], $8::int8[], $9::int2[],
  $10::int8[], $11::bool[], $12::int8[], $13::text[], $14::bool[], $15::int8[], $16::int2[], $17::int8[], $18::int8[],
  $19::int8[], $20::int8[], $21::int8[], $22::float8[], $23::text[], $24::text[], $25::int2[], $26::bool[], $27::text[],
  $28::int4[], $29::int4[], $30::int4[], $31::int4[], $32::int4[], $33::int4[], $34::int8[], $35::int8[],
  $36::int8[], $37::int2[], $38::text[], $39::text[], $40::int8[], $41::bool[]
) AS new (
  no, score, phase, timer_at, version, attempt, crashes, last_seq, queued_for, due_at, same_attempt, token, worker,
  in_process, node, stage, lease_since, lease_expires_at, started_at, finished_at, cancel_requested_at,
  progress_fraction, progress_message, error, ending, ambiguous, report,
  children, children_submitted, children_succeeded, children_failed, children_cancelled, answers, last_step_seq,
  last_delta_seq, last_reset_seq, wait, wait_step, wait_prompt, wait_since, trimmed
)
WHERE job.no = new.no
