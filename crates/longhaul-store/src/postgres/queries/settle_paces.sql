-- Without the lock of the kind: only where nobody has counted a start since.
UPDATE pace SET starts = new.starts, over_at = new.over_at, wakes_at = new.wakes_at
FROM unnest($1::int8[], $2::bytea[], $3::int8[], $4::int8[], $5::bytea[]) AS new (gate, starts, over_at, wakes_at, was)
WHERE pace.gate = new.gate AND pace.starts = new.was
