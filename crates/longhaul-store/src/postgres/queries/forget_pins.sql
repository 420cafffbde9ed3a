DELETE FROM blob_pin WHERE node = ANY ($1) RETURNING digest
