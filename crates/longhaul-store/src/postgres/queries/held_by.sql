SELECT {job}
FROM job
WHERE phase IN (2, 3) AND phase = 3 AND node = ANY ($1)
LIMIT $2
FOR UPDATE SKIP LOCKED
