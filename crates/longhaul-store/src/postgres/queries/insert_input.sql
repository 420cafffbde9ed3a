INSERT INTO input (no, data, digest, size) SELECT * FROM unnest($1::int8[], $2::bytea[], $3::bytea[], $4::int8[])
