SELECT queue, count(*) FROM job WHERE phase = 1 GROUP BY queue
