-- The queues in which each key has blocked jobs, with what those are: steps from queue to queue through the index.
WITH RECURSIVE place (key, no) AS (
  SELECT gate.key, (
    SELECT no FROM job WHERE phase = -1 AND job.limit_key = gate.key ORDER BY limit_key, queue, score, no LIMIT 1
  )
  FROM unnest($1::int8[]) AS gate (key)
  UNION ALL
  SELECT place.key, (
    SELECT next.no FROM job AS next
    WHERE next.phase = -1 AND next.limit_key = place.key AND next.queue > here.queue
    ORDER BY next.limit_key, next.queue, next.score, next.no LIMIT 1
  )
  FROM place JOIN job AS here ON here.no = place.no
)
SELECT place.key, job.queue, job.kind, job.tenant FROM place JOIN job ON job.no = place.no
