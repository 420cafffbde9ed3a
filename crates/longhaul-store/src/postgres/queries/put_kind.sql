INSERT INTO kind (tenant, name, spec) VALUES ($1, $2, $3) ON CONFLICT (tenant, name) DO UPDATE SET spec = excluded.spec
