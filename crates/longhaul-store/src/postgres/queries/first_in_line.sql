-- Steps from lane to lane through the index and looks at the first job of each; of a queue's lanes the one that goes next.
WITH RECURSIVE lane (kind, queue, tenant) AS (
  (SELECT kind, queue, tenant FROM job WHERE phase = 0 ORDER BY kind, queue, tenant LIMIT 1)
  UNION ALL
  SELECT next.kind, next.queue, next.tenant
  FROM lane
  CROSS JOIN LATERAL (
    SELECT job.kind, job.queue, job.tenant
    FROM job
    WHERE phase = 0 AND (job.kind, job.queue, job.tenant) > (lane.kind, lane.queue, lane.tenant)
    ORDER BY job.kind, job.queue, job.tenant
    LIMIT 1
  ) AS next
)
SELECT DISTINCT ON (lane.queue) lane.queue, head.ready_at
FROM lane
CROSS JOIN LATERAL (
  SELECT score, no, greatest(created_at, coalesce(run_at, created_at)) AS ready_at
  FROM job
  WHERE phase = 0 AND job.queue = lane.queue AND job.kind = lane.kind AND job.tenant = lane.tenant
  ORDER BY job.kind, job.queue, job.tenant, score, no
  LIMIT 1
) AS head
ORDER BY lane.queue, head.score, head.no
