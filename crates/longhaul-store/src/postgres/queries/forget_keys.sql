-- Keys whose time is over go with their jobs; one whose job is still there is kept until that goes, as far as can be
-- said today.
WITH over AS (
  SELECT tenant, route, key, jobs FROM idempotency
  WHERE keep_until < $1 ORDER BY keep_until LIMIT $2
  FOR UPDATE SKIP LOCKED
),
judged AS (
  SELECT over.tenant, over.route, over.key, max(
    CASE WHEN job.no IS NULL THEN NULL WHEN job.phase >= 4 THEN greatest(job.timer_at, $3) ELSE $3 END
  ) AS keep_until
  FROM over
  LEFT JOIN job ON job.tenant = over.tenant AND job.id = ANY (over.jobs)
  GROUP BY over.tenant, over.route, over.key
),
gone AS (
  DELETE FROM idempotency USING judged
  WHERE idempotency.tenant = judged.tenant AND idempotency.route = judged.route AND idempotency.key = judged.key
    AND judged.keep_until IS NULL
)
UPDATE idempotency SET keep_until = judged.keep_until FROM judged
WHERE idempotency.tenant = judged.tenant AND idempotency.route = judged.route AND idempotency.key = judged.key
  AND judged.keep_until IS NOT NULL
