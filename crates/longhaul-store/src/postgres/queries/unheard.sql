-- Leases of workers elsewhere that run out soon, when this server is the only one that lives: with others, somebody has
-- always been there to hear them. One that has died within the last seconds still counts as one of them.
SELECT {job}
FROM job
WHERE phase IN (2, 3) AND phase = 3 AND NOT in_process AND lease_expires_at < $3 AND no > $4
  AND NOT EXISTS (SELECT 1 FROM node WHERE id <> $1 AND alive_until > $2)
ORDER BY no
LIMIT 1000
FOR UPDATE SKIP LOCKED
