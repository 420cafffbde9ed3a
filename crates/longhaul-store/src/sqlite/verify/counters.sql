-- What a job says of its steps and answers is what is stored.
SELECT job.tenant, job.id,
       CASE
         WHEN coalesce(job.answers, 0) <> coalesce(kept.answers, 0)
           THEN format('it keeps %d answers, but counts %d', coalesce(kept.answers, 0), coalesce(job.answers, 0))
         ELSE format('its last step is event %d, but it says %d', coalesce(done.seq, 0), coalesce(job.last_step_seq, 0))
       END
FROM job
LEFT JOIN (SELECT no, count(*) AS answers FROM answer GROUP BY no) AS kept ON kept.no = job.no
LEFT JOIN (SELECT no, max(seq) AS seq FROM event WHERE type = 4 GROUP BY no) AS done ON done.no = job.no
WHERE coalesce(job.answers, 0) <> coalesce(kept.answers, 0)
   OR coalesce(job.last_step_seq, 0) <> coalesce(done.seq, 0)
