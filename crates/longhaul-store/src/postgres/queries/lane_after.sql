SELECT score, no, limit_key
FROM job
WHERE phase = 0 AND queue = $1 AND kind = $2 AND tenant = $3 AND (score, no) > ($4, $5)
ORDER BY score, no
LIMIT $6
