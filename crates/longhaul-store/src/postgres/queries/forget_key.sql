-- A key whose time is over may be used again.
DELETE FROM idempotency
USING unnest($1::text[], $2::text[], $3::bytea[]) AS used (tenant, route, key)
WHERE idempotency.tenant = used.tenant AND idempotency.route = used.route AND idempotency.key = used.key
