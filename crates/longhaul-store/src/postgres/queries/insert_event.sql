INSERT INTO event (no, seq, type, time, attempt, number, at, "real", text, error)
SELECT * FROM unnest(
  $1::int8[], $2::int8[], $3::int2[], $4::int8[], $5::int8[], $6::int8[], $7::int8[], $8::float8[], $9::text[],
  $10::text[]
)
