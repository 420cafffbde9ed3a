-- Nothing is stored for jobs that are not there.
SELECT NULL, NULL, format('%d rows of the table %s belong to jobs that are not there', count(*), source)
FROM (
  SELECT 'event' AS source, no FROM event
  UNION ALL SELECT 'delta', no FROM delta
  UNION ALL SELECT 'input', no FROM input
  UNION ALL SELECT 'output', no FROM output
  UNION ALL SELECT 'attempt', no FROM attempt
  UNION ALL SELECT 'step', no FROM step
  UNION ALL SELECT 'answer', no FROM answer
) AS stored
WHERE NOT EXISTS (SELECT 1 FROM job WHERE job.no = stored.no)
GROUP BY source
