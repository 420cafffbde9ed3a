WITH parts AS (DELETE FROM document_part WHERE tenant = $1 AND id = $2 RETURNING digest, size),
whole AS (DELETE FROM document WHERE tenant = $1 AND id = $2 RETURNING digest, size)
SELECT digest, size FROM parts WHERE digest IS NOT NULL
UNION ALL
SELECT digest, size FROM whole
