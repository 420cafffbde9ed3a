INSERT INTO idempotency (tenant, route, key, fingerprint, jobs, keep_until) VALUES ($1, $2, $3, $4, $5, $6)
