-- All that stand above these, as far as nobody holds them.
WITH RECURSIVE above (no, parent_no) AS (
  SELECT job.no, job.parent_no FROM job WHERE job.no = ANY ($1)
  UNION
  SELECT job.no, job.parent_no FROM above JOIN job ON job.no = above.parent_no
)
SELECT {job}
FROM above
JOIN job ON job.no = above.no
ORDER BY job.no
FOR UPDATE OF job SKIP LOCKED
