-- Steps from lane to lane of the kinds that are asked for, through the index instead of reading all of it, and shows the
-- first jobs: of few lanes many, of many lanes few.
WITH RECURSIVE lane (kind, queue, tenant) AS (
  SELECT first.kind, first.queue, first.tenant
  FROM unnest($1::text[]) AS asked (kind)
  CROSS JOIN LATERAL (
    SELECT job.kind, job.queue, job.tenant
    FROM job
    WHERE phase = 0 AND job.kind = asked.kind
    ORDER BY job.kind, job.queue, job.tenant
    LIMIT 1
  ) AS first
  UNION ALL
  SELECT lane.kind, next.queue, next.tenant
  FROM lane
  CROSS JOIN LATERAL (
    SELECT job.queue, job.tenant
    FROM job
    WHERE phase = 0 AND job.kind = lane.kind AND (job.queue, job.tenant) > (lane.queue, lane.tenant)
    ORDER BY job.kind, job.queue, job.tenant
    LIMIT 1
  ) AS next
),
asked AS MATERIALIZED (
  SELECT queue, kind, tenant FROM lane
  WHERE queue <> ALL ($2)
    AND ($3::text[] IS NULL OR queue = ANY ($3)) AND ($4::text[] IS NULL OR tenant = ANY ($4))
),
shown AS MATERIALIZED (SELECT least($5::int8, $6::int8 / greatest(count(*), 1) + $7::int8) AS most FROM asked)
SELECT asked.queue, asked.kind, asked.tenant, shown.most, head.score, head.no, head.limit_key
FROM asked
CROSS JOIN shown
CROSS JOIN LATERAL (
  SELECT score, no, limit_key
  FROM job
  WHERE phase = 0 AND job.kind = asked.kind AND job.queue = asked.queue AND job.tenant = asked.tenant
  ORDER BY job.kind, job.queue, job.tenant, score, no
  LIMIT (SELECT most FROM shown)
) AS head
