-- In the order of their numbers, in which everybody locks: so that no two batches wait for each other.
SELECT {job}
FROM job
JOIN unnest($1::text[], $2::uuid[]) AS wanted (tenant, id) ON job.tenant = wanted.tenant AND job.id = wanted.id
ORDER BY job.no
FOR UPDATE OF job
