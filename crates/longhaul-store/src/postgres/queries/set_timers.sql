UPDATE job SET timer_at = new.timer_at, trimmed = new.trimmed
FROM unnest($1::int8[], $2::int8[], $3::bool[]) AS new (no, timer_at, trimmed)
WHERE job.no = new.no
