SELECT count(*) FROM job WHERE phase IN (2, 3) AND phase = 3 AND kind = $1 AND ($2::text IS NULL OR tenant = $2)
