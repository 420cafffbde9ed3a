SELECT {job}
FROM job
WHERE phase < 4 AND timer_at IS NOT NULL AND timer_at <= $1
ORDER BY timer_at
LIMIT $2
FOR UPDATE SKIP LOCKED
