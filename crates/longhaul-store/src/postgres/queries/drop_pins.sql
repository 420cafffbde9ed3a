DELETE FROM blob_pin WHERE digest = ANY ($1) AND node = $2 AND pins <= 0
