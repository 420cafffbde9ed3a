SELECT
  coalesce((SELECT paused FROM queue WHERE name = $1), false),
  coalesce((SELECT sum(running)::int8 FROM queue_tally WHERE queue = $1), 0)
