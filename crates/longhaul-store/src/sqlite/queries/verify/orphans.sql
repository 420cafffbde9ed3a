-- Rows of jobs that are not there.
SELECT NULL, 'there is ' || what || ' of job number ' || no || ', which is not there'
FROM (
  SELECT 'an input' AS what, no FROM input
  UNION ALL SELECT 'an output', no FROM output
  UNION ALL SELECT 'a history', no FROM (SELECT DISTINCT no FROM event)
  UNION ALL SELECT 'a stream', no FROM (SELECT DISTINCT no FROM delta)
  UNION ALL SELECT 'an attempt', no FROM (SELECT DISTINCT no FROM attempt)
  UNION ALL SELECT 'a step', no FROM (SELECT DISTINCT no FROM step)
  UNION ALL SELECT 'an answer', no FROM (SELECT DISTINCT no FROM answer)
) AS part
WHERE NOT EXISTS (SELECT 1 FROM job WHERE job.no = part.no)
