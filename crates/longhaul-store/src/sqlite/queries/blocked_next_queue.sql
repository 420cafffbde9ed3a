SELECT min(queue) FROM job INDEXED BY job_blocked WHERE phase = -1 AND limit_key = ?1 AND queue > ?2
