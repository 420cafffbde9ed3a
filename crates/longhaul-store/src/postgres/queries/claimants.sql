-- Others' claims of late, and those of workers that are busy.
SELECT worker, kinds, tenant, queues
FROM claimant
WHERE node <> $1
  AND (at > $2 OR EXISTS (SELECT 1 FROM job WHERE phase IN (2, 3) AND phase = 3 AND job.worker = claimant.worker))
