-- Events are numbered 1 to last_seq without gaps; only what retention has trimmed of the deltas is missing.
SELECT job.tenant, job.id,
       format('%d events are kept and %d were trimmed, numbered %d to %d, but the last is said to be %d',
              coalesce(told.kept, 0), coalesce(job.trimmed, 0), coalesce(told.first, 0), coalesce(told.last, 0), job.last_seq)
FROM job
LEFT JOIN (
  SELECT no, count(DISTINCT seq) AS kept, min(seq) AS first, max(seq) AS last
  FROM (SELECT no, seq FROM event UNION ALL SELECT no, seq FROM delta)
  GROUP BY no
) AS told ON told.no = job.no
WHERE coalesce(told.kept, 0) + coalesce(job.trimmed, 0) <> job.last_seq
   OR told.last IS NOT job.last_seq
   OR (coalesce(job.trimmed, 0) = 0 AND told.first IS NOT 1)
