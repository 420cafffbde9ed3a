INSERT INTO queue_tally (queue, slot, queued, running)
SELECT queue, $4, queued, running FROM unnest($1::text[], $2::int8[], $3::int8[]) AS new (queue, queued, running)
ORDER BY queue
ON CONFLICT (queue, slot) DO UPDATE
SET queued = queue_tally.queued + excluded.queued, running = queue_tally.running + excluded.running
