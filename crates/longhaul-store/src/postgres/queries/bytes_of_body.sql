SELECT coalesce(sum(octet_length(data)), 0)::int8 FROM blob_chunk WHERE body = $1
