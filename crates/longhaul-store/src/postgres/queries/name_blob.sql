-- Gives back the number that the blob's bytes stand under: another's, when the same bytes are there already.
INSERT INTO blob (digest, size, body, uses) VALUES ($1, $2, $3, 0)
ON CONFLICT (digest) DO UPDATE SET size = excluded.size
RETURNING body
