-- Only while the upload goes on, and whoever ends it waits for this.
INSERT INTO blob_chunk (body, place, data)
SELECT body, $2::int4, $3::bytea FROM blob_upload WHERE body = $1 FOR KEY SHARE
