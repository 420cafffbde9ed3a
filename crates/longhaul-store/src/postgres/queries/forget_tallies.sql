-- Queues that ran empty, once there are many: clients name them, and think of more. What a queue's slots say together is what
-- it holds: the rows that nobody writes at this moment go, and should they come to something, that stays in one slot.
WITH idle AS (
  SELECT queue FROM queue_tally GROUP BY queue
  HAVING sum(queued) = 0 AND sum(running) = 0 AND sum(waiting) = 0
    AND (SELECT count(DISTINCT queue) FROM queue_tally) > $2
  LIMIT $3
),
free AS (SELECT queue, slot FROM queue_tally WHERE queue IN (SELECT queue FROM idle) FOR UPDATE SKIP LOCKED),
gone AS (
  DELETE FROM queue_tally AS tally USING free WHERE tally.queue = free.queue AND tally.slot = free.slot
  RETURNING tally.queue, tally.queued, tally.running, tally.waiting
)
INSERT INTO queue_tally (queue, slot, queued, running, waiting)
SELECT queue, $1, sum(queued)::int8, sum(running)::int8, sum(waiting)::int8 FROM gone GROUP BY queue
HAVING sum(queued) <> 0 OR sum(running) <> 0 OR sum(waiting) <> 0
ON CONFLICT (queue, slot) DO UPDATE
SET queued = queue_tally.queued + excluded.queued, running = queue_tally.running + excluded.running,
    waiting = queue_tally.waiting + excluded.waiting
