-- A job's place among those that may run follows from its times and its priority.
SELECT id, 'stands at place ' || rank || ' instead of ' || place
FROM (
  SELECT id, rank, max(created_at, coalesce(run_at, created_at)) / 1000000 - 600 * priority AS place
  FROM job WHERE created_at >= 0
)
WHERE rank <> place
