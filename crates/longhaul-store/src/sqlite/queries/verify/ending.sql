-- An ended job's last event says how it ended, and no other job has such an event.
SELECT id, 'is in phase ' || phase || ', and its history ends ' || ends || ' times'
  || coalesce(', last as type ' || last_end, '')
FROM (
  SELECT id, phase, last_seq,
    (SELECT count(*) FROM event WHERE event.no = job.no AND type IN (6, 7, 8)) AS ends,
    (SELECT max(seq) FROM event WHERE event.no = job.no AND type IN (6, 7, 8)) AS end_seq,
    (SELECT type FROM event WHERE event.no = job.no AND type IN (6, 7, 8) ORDER BY seq DESC LIMIT 1) AS last_end
  FROM job
)
WHERE CASE WHEN phase >= 4 THEN ends <> 1 OR last_end <> phase + 2 OR end_seq <> last_seq ELSE ends <> 0 END
