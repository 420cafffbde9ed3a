SELECT id FROM job WHERE {window} AND tenant = $1 AND id < $2 AND id >= $4 ORDER BY id DESC LIMIT 1 OFFSET $3
