SELECT {job}
FROM job
JOIN unnest($1::text[], $2::uuid[]) AS wanted (tenant, id) ON job.tenant = wanted.tenant AND job.id = wanted.id
