-- Without the lock of the kind: what has started is left alone. A look too early costs little, one that is missing a while.
UPDATE pace SET wakes_at = least(pace.wakes_at, new.wakes_at)
FROM unnest($1::int8[], $2::int8[]) AS new (gate, wakes_at)
WHERE pace.gate = new.gate
