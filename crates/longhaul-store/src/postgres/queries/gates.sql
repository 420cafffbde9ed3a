-- How many of each key run, and what has started of late.
SELECT gate.key, (
  SELECT count(*) FROM job WHERE phase = 3 AND limit_key IS NOT NULL AND job.limit_key = gate.key
), pace.starts
FROM unnest($1::int8[]) AS gate (key)
LEFT JOIN pace ON pace.gate = gate.key
