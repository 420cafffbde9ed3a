INSERT INTO claimant (node, digest, worker, kinds, tenant, queues, at) VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (node, digest) DO UPDATE SET at = excluded.at
