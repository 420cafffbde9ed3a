SELECT queue, count(*) FROM job INDEXED BY job_active WHERE phase = 3 AND phase IN (2, 3) GROUP BY queue
