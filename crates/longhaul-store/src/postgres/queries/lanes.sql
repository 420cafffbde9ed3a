-- Steps from lane to lane through the index instead of reading all of it, and shows the first jobs of those that are asked
-- for: of few lanes many, of many lanes few.
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
),
asked AS MATERIALIZED (
  SELECT queue, kind, tenant FROM lane
  WHERE kind = ANY ($1) AND queue <> ALL ($2)
    AND ($3::text[] IS NULL OR queue = ANY ($3)) AND ($4::text[] IS NULL OR tenant = ANY ($4))
),
shown AS MATERIALIZED (SELECT least($5::int8, $6::int8 / greatest(count(*), 1) + $7::int8) AS most FROM asked)
SELECT asked.queue, asked.kind, asked.tenant, shown.most, head.score, head.no, head.limit_key
FROM asked
CROSS JOIN shown
CROSS JOIN LATERAL (
  SELECT score, no, limit_key
  FROM job
  WHERE phase = 0 AND job.queue = asked.queue AND job.kind = asked.kind AND job.tenant = asked.tenant
  ORDER BY job.queue, job.kind, job.tenant, score, no
  LIMIT (SELECT most FROM shown)
) AS head
