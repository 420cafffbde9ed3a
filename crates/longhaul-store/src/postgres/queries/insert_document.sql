INSERT INTO document (tenant, id, file_name, content_type, digest, size, job, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
