-- A job that has ended has one terminal event, its last, which agrees with its state; any other job has none.
SELECT job.tenant, job.id,
       CASE
         WHEN job.phase < 4 THEN 'it has not ended, but its history says that it has'
         WHEN ends.told IS NULL THEN 'it has ended, but its history does not say so'
         WHEN ends.told > 1 THEN format('its history ends %d times', ends.told)
         WHEN ends.seq <> job.last_seq THEN 'its history goes on after its end'
         ELSE 'its history ends in another way than its state says'
       END
FROM job
LEFT JOIN (
  SELECT no, count(*) AS told, max(seq) AS seq, max(type) AS type FROM event WHERE type IN (6, 7, 8) GROUP BY no
) AS ends ON ends.no = job.no
WHERE (job.phase < 4 AND ends.told IS NOT NULL)
   OR (job.phase >= 4 AND (ends.told IS NOT 1 OR ends.seq IS NOT job.last_seq OR ends.type IS NOT job.phase + 2))
