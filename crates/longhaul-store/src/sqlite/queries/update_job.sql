UPDATE job
SET phase = ?2, version = ?3, attempt = ?4, crashes = ?5, last_seq = ?6, queued_for = ?7, due_at = ?8,
    same_attempt = ?9, token = ?10, worker = ?11, in_process = ?12, stage = ?13, lease_since = ?14,
    lease_expires_at = ?15, started_at = ?16, finished_at = ?17, cancel_requested_at = ?18, progress_fraction = ?19,
    progress_message = ?20, error = ?21, ending = ?22, ambiguous = ?23, report = ?24,
    children_total = ?25, children_submitted = ?26, children_succeeded = ?27, children_failed = ?28,
    children_cancelled = ?29, answers = ?30, last_step_seq = ?31, last_delta_seq = ?32, last_reset_seq = ?33,
    wait = ?34, wait_step = ?35, wait_prompt = ?36
WHERE no = ?1
