INSERT INTO api_key (id, tenant, name, scopes, secret_hash, created_at, expires_at, revoked_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (id) DO UPDATE
SET tenant = excluded.tenant, name = excluded.name, scopes = excluded.scopes, secret_hash = excluded.secret_hash,
    created_at = excluded.created_at, expires_at = excluded.expires_at, revoked_at = excluded.revoked_at
