-- A job that is there has no tombstone.
SELECT job.tenant, job.id, 'it is there, and has a tombstone'
FROM tombstone
JOIN job ON job.tenant = tombstone.tenant AND job.id = tombstone.id
