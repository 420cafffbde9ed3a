SELECT tenant, spec FROM kind ORDER BY tenant, name
