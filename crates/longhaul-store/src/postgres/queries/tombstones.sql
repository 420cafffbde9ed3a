SELECT tombstone.tenant, tombstone.id, status, finished_at, erased
FROM tombstone
JOIN unnest($1::text[], $2::uuid[]) AS wanted (tenant, id)
  ON tombstone.tenant = wanted.tenant AND tombstone.id = wanted.id
