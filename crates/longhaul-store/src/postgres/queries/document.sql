SELECT file_name, content_type, digest, size, job, created_at FROM document WHERE tenant = $1 AND id = $2
