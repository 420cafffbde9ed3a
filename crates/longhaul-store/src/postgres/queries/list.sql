-- Looks at no more than $3 rows, whatever the filters leave of them.
SELECT {job}
FROM (SELECT * FROM job WHERE {window} AND tenant = $1 AND id < $2 AND id >= $10 ORDER BY id DESC LIMIT $3) AS job
WHERE ($4::int2 IS NULL OR phase = $4 OR ($4 = 0 AND phase IN (-1, 1)) OR ($4 = 3 AND phase = 2))
  AND ($5::text IS NULL OR kind = $5)
  AND ($6::text IS NULL OR queue = $6)
  AND created_at >= $7
  AND created_at < $8
  AND ($9::int8[] IS NULL OR metadata_pairs @> $9)
ORDER BY id DESC
LIMIT $11
