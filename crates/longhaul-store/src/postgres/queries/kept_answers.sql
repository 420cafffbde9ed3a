SELECT job.no, answer.data, answer.digest, answer.size
FROM job
JOIN unnest($1::text[], $2::uuid[]) AS wanted (tenant, id) ON job.tenant = wanted.tenant AND job.id = wanted.id
JOIN answer ON answer.no = job.no
ORDER BY job.no, answer.place
