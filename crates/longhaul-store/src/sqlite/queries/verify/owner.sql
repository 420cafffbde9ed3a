-- Live jobs that nothing will ever move: no lease, no time, no blocker, nothing to run with.
SELECT id, CASE phase
    WHEN -1 THEN CASE WHEN limit_key IS NULL THEN 'is held back, but by no limit'
      ELSE 'is held back and cannot be leased: its reason or its input is missing' END
    WHEN 0 THEN 'waits for its turn, but cannot be leased: its reason, its place or its input is missing'
    WHEN 1 THEN 'is deferred, but until no time'
    WHEN 2 THEN 'runs, but under no lease'
    ELSE CASE wait
      WHEN 0 THEN 'waits for children, but has none that live'
      WHEN 1 THEN 'waits for input that is there, or for none'
      ELSE 'waits for nothing'
    END
  END
FROM job
WHERE (phase = -1 AND limit_key IS NULL)
   OR (phase IN (-1, 0) AND (queued_for IS NULL OR same_attempt IS NULL
        OR NOT EXISTS (SELECT 1 FROM input WHERE input.no = job.no)))
   OR (phase = 1 AND (queued_for IS NULL OR same_attempt IS NULL OR due_at IS NULL))
   OR (phase = 2 AND (token IS NULL OR worker IS NULL OR lease_since IS NULL OR lease_expires_at IS NULL
        OR stage IS NULL OR in_process IS NULL))
   OR (phase = 3 AND CASE wait
        WHEN 0 THEN lease_since IS NULL OR NOT EXISTS (
          SELECT 1 FROM job AS child INDEXED BY job_child_live
          WHERE child.parent = job.id AND child.parent IS NOT NULL AND child.phase < 4)
        WHEN 1 THEN lease_since IS NULL OR wait_step IS NULL OR answers IS NOT NULL
          OR EXISTS (SELECT 1 FROM step WHERE step.no = job.no AND step.name = wait_step)
        ELSE 1
      END)
