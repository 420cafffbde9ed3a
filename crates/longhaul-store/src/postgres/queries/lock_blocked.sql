-- The first of those that a key blocks in a queue, as many as there is room for. What somebody holds is left.
SELECT {job}
FROM unnest($1::int8[], $2::text[], $3::int8[]) AS place (key, queue, most)
CROSS JOIN LATERAL (
  SELECT no FROM job
  WHERE phase = -1 AND job.limit_key = place.key AND job.queue = place.queue
  ORDER BY limit_key, queue, score, no
  LIMIT place.most
) AS found
JOIN job ON job.no = found.no
WHERE job.phase = -1
ORDER BY job.no
FOR UPDATE OF job SKIP LOCKED
