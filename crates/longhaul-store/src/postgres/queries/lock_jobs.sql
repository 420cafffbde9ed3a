-- With all that stand above them, which hear of their ends. In the order of their numbers, in which everybody locks: so
-- that no two batches wait for each other.
WITH RECURSIVE above (no, parent_no) AS (
  SELECT job.no, job.parent_no
  FROM job
  JOIN unnest($1::text[], $2::uuid[]) AS wanted (tenant, id) ON job.tenant = wanted.tenant AND job.id = wanted.id
  UNION
  SELECT job.no, job.parent_no FROM above JOIN job ON job.no = above.parent_no
)
SELECT {job}
FROM above
JOIN job ON job.no = above.no
ORDER BY job.no
FOR UPDATE OF job
