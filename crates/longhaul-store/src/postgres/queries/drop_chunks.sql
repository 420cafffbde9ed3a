DELETE FROM blob_chunk WHERE body = ANY ($1)
