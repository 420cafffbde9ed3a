DELETE FROM tombstone WHERE (tenant, id) IN (
  SELECT tenant, id FROM tombstone WHERE gone_at < $1 ORDER BY gone_at LIMIT $2 FOR UPDATE SKIP LOCKED
)
