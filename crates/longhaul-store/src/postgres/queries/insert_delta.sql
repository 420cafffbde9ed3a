INSERT INTO delta (no, seq, time, attempt, kind, data)
SELECT * FROM unnest($1::int8[], $2::int8[], $3::int8[], $4::int8[], $5::int2[], $6::text[])
