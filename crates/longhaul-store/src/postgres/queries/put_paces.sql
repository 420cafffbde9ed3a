INSERT INTO pace (gate, starts, over_at, wakes_at)
SELECT * FROM unnest($1::int8[], $2::bytea[], $3::int8[], $4::int8[]) AS new (gate, starts, over_at, wakes_at) ORDER BY gate
ON CONFLICT (gate) DO UPDATE SET starts = excluded.starts, over_at = excluded.over_at, wakes_at = excluded.wakes_at
