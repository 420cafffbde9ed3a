INSERT INTO answer (no, data, digest, size) VALUES ($1, $2, $3, $4)
