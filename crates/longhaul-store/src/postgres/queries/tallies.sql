SELECT queue, sum(queued)::int8, sum(running)::int8, sum(waiting)::int8 FROM queue_tally GROUP BY queue
