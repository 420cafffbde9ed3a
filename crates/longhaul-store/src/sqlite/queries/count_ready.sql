SELECT queue, count(*) FROM job INDEXED BY job_ready WHERE phase = 0 GROUP BY queue
