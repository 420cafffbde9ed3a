INSERT INTO tombstone (tenant, id, status, erased, finished_at, gone_at)
SELECT * FROM unnest($1::text[], $2::uuid[], $3::int2[], $4::bool[], $5::int8[], $6::int8[])
ON CONFLICT (tenant, id) DO NOTHING
