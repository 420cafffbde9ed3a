SELECT kept.tenant, kept.route, kept.key, kept.fingerprint, kept.jobs, kept.keep_until,
       EXISTS (SELECT 1 FROM job WHERE job.tenant = kept.tenant AND job.id = ANY (kept.jobs))
FROM idempotency AS kept
JOIN unnest($1::text[], $2::text[], $3::bytea[]) AS wanted (tenant, route, key)
  ON kept.tenant = wanted.tenant AND kept.route = wanted.route AND kept.key = wanted.key
ORDER BY kept.tenant, kept.route, kept.key
FOR UPDATE OF kept
