-- How many of each key are ready in a queue, counted up to a thousand.
SELECT place.key, place.queue, (
  SELECT count(*) FROM (
    SELECT 1 FROM job
    WHERE phase = 0 AND limit_key IS NOT NULL AND job.limit_key = place.key AND job.queue = place.queue
    LIMIT 1000
  ) AS ready
)
FROM unnest($1::int8[], $2::text[]) AS place (key, queue)
