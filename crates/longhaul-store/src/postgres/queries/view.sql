SELECT {job}, input.data, input.digest, input.size, output.data, output.digest, output.size
FROM job
LEFT JOIN input ON input.no = job.no
LEFT JOIN output ON output.no = job.no
WHERE job.tenant = $1 AND job.id = $2
