INSERT INTO queue_tally (queue, slot, queued, running, waiting)
SELECT queue, $5, queued, running, waiting
FROM unnest($1::text[], $2::int8[], $3::int8[], $4::int8[]) AS new (queue, queued, running, waiting)
ORDER BY queue
ON CONFLICT (queue, slot) DO UPDATE
SET queued = queue_tally.queued + excluded.queued, running = queue_tally.running + excluded.running,
    waiting = queue_tally.waiting + excluded.waiting
