-- What another server has put off meanwhile stays so.
UPDATE pace SET wakes_at = NULL WHERE gate = ANY ($1) AND wakes_at <= $2
