SELECT rank, no FROM job INDEXED BY job_blocked
WHERE phase = -1 AND limit_key = ?1 AND queue = ?2 AND (rank, no) > (?3, ?4)
ORDER BY rank, no LIMIT ?5
