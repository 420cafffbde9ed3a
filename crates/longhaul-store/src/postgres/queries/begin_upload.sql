INSERT INTO blob_upload (body, node) VALUES (nextval('blob_body'), $1) RETURNING body
