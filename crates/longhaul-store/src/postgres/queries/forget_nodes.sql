-- A dead server's leases are ended first; what it was taking in, or about to refer to, goes with it.
WITH gone AS (
  DELETE FROM node
  WHERE id = ANY ($1) AND NOT EXISTS (SELECT 1 FROM job WHERE phase IN (2, 3) AND phase = 3 AND job.node = node.id)
  RETURNING id
),
unpinned AS (DELETE FROM blob_pin USING gone WHERE blob_pin.node = gone.id),
unseen AS (DELETE FROM claimant USING gone WHERE claimant.node = gone.id),
dropped AS (DELETE FROM blob_upload USING gone WHERE blob_upload.node = gone.id RETURNING body)
DELETE FROM blob_chunk USING dropped WHERE blob_chunk.body = dropped.body
