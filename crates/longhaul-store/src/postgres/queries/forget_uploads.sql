DELETE FROM blob_upload WHERE node = ANY ($1) RETURNING body
