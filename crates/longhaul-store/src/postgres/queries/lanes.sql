-- Steps from lane to lane through the index instead of reading all of it, and shows the first jobs of each.
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
SELECT lane.queue, lane.kind, lane.tenant, head.score, head.no, head.limit_key
FROM lane
CROSS JOIN LATERAL (
  SELECT score, no, limit_key
  FROM job
  WHERE phase = 0 AND job.queue = lane.queue AND job.kind = lane.kind AND job.tenant = lane.tenant
  ORDER BY job.queue, job.kind, job.tenant, score, no
  LIMIT $3
) AS head
WHERE lane.kind = ANY ($1) AND lane.queue <> ALL ($2)
