INSERT INTO kind (tenant, name, spec, limits) VALUES ($1, $2, $3, $4)
ON CONFLICT (tenant, name) DO UPDATE SET spec = excluded.spec, limits = excluded.limits
