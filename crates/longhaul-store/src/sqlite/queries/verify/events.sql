-- Events are numbered 1 to last_seq without a gap, but for deltas that retention has removed.
SELECT id, 'has told ' || last_seq || ' events; there are ' || events || ' and ' || deltas || ' deltas, ' || trimmed
  || ' were removed, and the last is ' || coalesce(last, 'none')
FROM (
  SELECT id, last_seq, coalesce(trimmed, 0) AS trimmed,
    (SELECT count(*) FROM event WHERE event.no = job.no AND event.seq > 0) AS events,
    (SELECT count(*) FROM delta WHERE delta.no = job.no AND delta.seq > 0) AS deltas,
    (SELECT max(seq) FROM (
      SELECT max(seq) AS seq FROM event WHERE event.no = job.no
      UNION ALL SELECT max(seq) FROM delta WHERE delta.no = job.no)) AS last,
    EXISTS (SELECT 1 FROM delta JOIN event USING (no, seq) WHERE delta.no = job.no) AS twice
  FROM job
)
WHERE events + deltas + trimmed <> last_seq OR last IS NOT last_seq OR twice
