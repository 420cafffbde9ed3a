-- What another server has locked is about to be leased there.
SELECT {job}, input.data, input.digest, input.size
FROM job
JOIN input ON input.no = job.no
WHERE job.no = ANY ($1) AND job.phase = 0
ORDER BY job.no
FOR UPDATE OF job SKIP LOCKED
