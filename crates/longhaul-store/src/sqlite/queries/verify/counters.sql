-- What a row counts against what there is to be counted.
SELECT id, 'counts ' || counted || ' ' || what || ', and there is ' || coalesce(found, 'none')
FROM (
  -- Calls of children are told as steps as well, and do not count.
  SELECT id, 'as its last step event' AS what, coalesce(last_step_seq, 0) AS counted,
    coalesce((SELECT max(seq) FROM event WHERE event.no = job.no AND type = 4 AND seq <= last_step_seq), 0) AS found
  FROM job
  UNION ALL
  SELECT id, 'as its last reset', coalesce(last_reset_seq, 0),
    coalesce((SELECT max(seq) FROM event WHERE event.no = job.no AND type = 11), 0)
  FROM job
  UNION ALL
  SELECT id, 'as its last delta', coalesce(last_delta_seq, 0),
    coalesce((SELECT max(seq) FROM delta WHERE delta.no = job.no), 0)
  FROM job WHERE trimmed IS NULL
  UNION ALL
  SELECT id, 'answers that it keeps', coalesce(answers, 0), (SELECT count(*) FROM answer WHERE answer.no = job.no)
  FROM job
)
WHERE counted <> found
