SELECT id, tenant, name, scopes, secret_hash, created_at, expires_at, revoked_at FROM api_key ORDER BY id
