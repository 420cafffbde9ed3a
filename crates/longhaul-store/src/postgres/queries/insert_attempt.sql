INSERT INTO attempt (no, lease, number, started_at, ended_at, ending, ambiguous, worker, error)
SELECT * FROM unnest(
  $1::int8[], $2::int8[], $3::int8[], $4::int8[], $5::int8[], $6::int2[], $7::bool[], $8::text[], $9::text[]
)
