SELECT queue, count(*) FROM job INDEXED BY job_blocked WHERE phase = -1 GROUP BY queue
