UPDATE job
SET phase = ?2, version = ?3, attempt = ?4, crashes = ?5, last_seq = ?6, queued_for = ?7, due_at = ?8,
    same_attempt = ?9, token = ?10, worker = ?11, in_process = ?12, stage = ?13, lease_since = ?14,
    lease_expires_at = ?15, started_at = ?16, finished_at = ?17, cancel_requested_at = ?18, progress_fraction = ?19,
    progress_message = ?20, error = ?21, ending = ?22, ambiguous = ?23, report = ?24
WHERE no = ?1
