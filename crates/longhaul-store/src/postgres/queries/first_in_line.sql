-- Steps from lane to lane through the index and looks at the first job of each; of a queue's lanes the one that goes next.
WITH RECURSIVE lane (queue, kind, tenant) AS (
  (SELECT queue, kind, tenant FROM job WHERE phase = 0 ORDER BY queue, kind, tenant LIMIT 1)
  UNION ALL
  SELECT next.queue, next.kind, next.tenant
  FROM lane
  CROSS JOIN LATERAL (
    SELECT job.queue, job.kind, job.tenant
    FROM job
    WHERE phase = 0 AND (job.queue, job.kind, job.tenant) > (lane.queue, lane.kind, lane.tenant)
    ORDER BY job.queue, job.kind, job.tenant
    LIMIT 1
  ) AS next
)
SELECT DISTINCT ON (lane.queue) lane.queue, head.ready_at
FROM lane
CROSS JOIN LATERAL (
  SELECT score, no, greatest(created_at, coalesce(run_at, created_at)) AS ready_at
  FROM job
  WHERE phase = 0 AND job.queue = lane.queue AND job.kind = lane.kind AND job.tenant = lane.tenant
  ORDER BY job.queue, job.kind, job.tenant, score, no
  LIMIT 1
) AS head
ORDER BY lane.queue, head.score, head.no
