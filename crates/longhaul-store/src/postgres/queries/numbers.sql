SELECT nextval('job_no') FROM generate_series(1, $1::int8)
