-- Steps from lane to lane through the index instead of reading all of it.
WITH RECURSIVE lane (queue, kind, tenant) AS (
  SELECT * FROM (
    SELECT queue, kind, tenant FROM job INDEXED BY job_ready WHERE phase = 0 ORDER BY queue, kind, tenant LIMIT 1
  )
  UNION ALL
  SELECT next.queue, next.kind, next.tenant
  FROM lane, job AS next
  WHERE next.no = (
    SELECT no FROM job INDEXED BY job_ready
    WHERE phase = 0 AND (queue, kind, tenant) > (lane.queue, lane.kind, lane.tenant)
    ORDER BY queue, kind, tenant LIMIT 1
  )
)
SELECT queue, kind, tenant FROM lane
