-- Every job that has not ended has an owner (a lease), a timer, its turn, or something that it waits for.
SELECT tenant, id,
       CASE phase
         WHEN 0 THEN 'it is ready, but does not say since when'
         WHEN 1 THEN 'it is queued for later, but no time is set'
         WHEN 2 THEN 'it runs, but nobody holds a lease that ends'
         ELSE CASE wait
           WHEN 0 THEN 'it waits for children, but none of them lives'
           WHEN 1 THEN 'it waits for an answer, but not for which step'
           ELSE 'it waits, but not for anything'
         END
       END
FROM job
WHERE (phase = 0 AND (queued_for IS NULL OR due_at IS NULL))
   OR (phase = 1 AND (queued_for IS NULL OR due_at IS NULL))
   OR (phase = 2 AND (token IS NULL OR worker IS NULL OR lease_expires_at IS NULL))
   OR (phase = 3 AND NOT (
         (wait IS 0 AND EXISTS (
            SELECT 1 FROM job AS child
            WHERE child.parent = job.id AND child.tenant = job.tenant AND child.phase < 4))
         OR (wait IS 1 AND wait_step IS NOT NULL)))
