INSERT INTO step (no, name, data, digest, size)
SELECT * FROM unnest($1::int8[], $2::text[], $3::bytea[], $4::bytea[], $5::int8[])
