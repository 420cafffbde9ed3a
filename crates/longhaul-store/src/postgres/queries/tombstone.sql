SELECT status, finished_at, erased FROM tombstone WHERE tenant = $1 AND id = $2
