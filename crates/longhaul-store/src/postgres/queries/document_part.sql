SELECT data, digest, size FROM document_part WHERE tenant = $1 AND id = $2 AND part = $3
