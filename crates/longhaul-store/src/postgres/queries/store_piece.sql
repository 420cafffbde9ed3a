INSERT INTO blob_chunk (body, place, data) VALUES ($1, $2, $3)
