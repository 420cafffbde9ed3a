SELECT tenant, name, limits FROM kind WHERE limits IS NOT NULL AND name = ANY ($1)
