UPDATE blob SET uses = blob.uses + new.uses
FROM unnest($1::bytea[], $2::int8[]) AS new (digest, uses)
WHERE blob.digest = new.digest
RETURNING blob.digest
