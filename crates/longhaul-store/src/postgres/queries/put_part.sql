INSERT INTO document_part (tenant, id, part, data, digest, size) VALUES ($1, $2, $3, $4, $5, $6)
