-- What a job was given, and what it gave when it succeeded and only then.
SELECT id, CASE
    WHEN NOT EXISTS (SELECT 1 FROM input WHERE input.no = job.no) THEN 'has no input'
    WHEN phase = 4 THEN 'has succeeded without an output'
    ELSE 'has an output, but has not succeeded'
  END
FROM job
WHERE NOT EXISTS (SELECT 1 FROM input WHERE input.no = job.no)
   OR (phase = 4) <> EXISTS (SELECT 1 FROM output WHERE output.no = job.no)
