-- A dead server's leases are ended first; what it was about to refer to, and what is known of its workers, goes with it.
WITH gone AS (
  DELETE FROM node
  WHERE id = ANY ($1) AND NOT EXISTS (SELECT 1 FROM job WHERE phase IN (2, 3) AND phase = 3 AND job.node = node.id)
  RETURNING id
),
unseen AS (DELETE FROM claimant USING gone WHERE claimant.node = gone.id)
SELECT id FROM gone
