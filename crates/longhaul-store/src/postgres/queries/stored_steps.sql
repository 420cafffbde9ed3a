SELECT job.no, step.name, step.data, step.digest, step.size
FROM unnest($1::text[], $2::uuid[], $3::text[]) AS wanted (tenant, id, name)
JOIN job ON job.tenant = wanted.tenant AND job.id = wanted.id
JOIN step ON step.no = job.no AND step.name = wanted.name
