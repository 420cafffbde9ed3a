-- What a job's phase says that its row must hold, and must not.
SELECT id, CASE
    WHEN phase NOT BETWEEN -1 AND 6 THEN 'is in no phase: ' || phase
    WHEN phase >= 4 THEN 'has ended, but not at any time'
    WHEN finished_at IS NOT NULL THEN 'has not ended, but at ' || finished_at
    WHEN phase IN (2, 3) AND attempt > 0 AND started_at IS NULL THEN 'runs, but was never started'
    ELSE 'has more attempts than leases'
  END
FROM job
WHERE phase NOT BETWEEN -1 AND 6
   OR (phase >= 4) <> (finished_at IS NOT NULL)
   OR (phase IN (2, 3) AND attempt > 0 AND started_at IS NULL)
   OR attempt > coalesce(token >> 32, 0)
