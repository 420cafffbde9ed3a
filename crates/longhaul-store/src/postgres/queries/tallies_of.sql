SELECT queue, sum(running)::int8 FROM queue_tally WHERE queue = ANY ($1) GROUP BY queue
