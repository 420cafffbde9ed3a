-- How many of each key run, what has started of late, and when it is to be looked at.
SELECT gate.key, (
  SELECT count(*) FROM job WHERE phase = 3 AND limit_key IS NOT NULL AND job.limit_key = gate.key
), pace.starts, pace.wakes_at
FROM unnest($1::int8[]) AS gate (key)
LEFT JOIN pace ON pace.gate = gate.key
