-- The first keys after $1 that have blocked jobs.
WITH RECURSIVE gate (key, count) AS (
  SELECT (SELECT min(limit_key) FROM job WHERE phase = -1 AND limit_key > $1), 1
  UNION ALL
  SELECT (SELECT min(limit_key) FROM job WHERE phase = -1 AND limit_key > gate.key), gate.count + 1
  FROM gate WHERE gate.key IS NOT NULL AND gate.count < $2::int8
)
SELECT key FROM gate WHERE key IS NOT NULL
