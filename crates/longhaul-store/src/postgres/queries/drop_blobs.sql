-- Those of these that nothing refers to, and nobody is about to.
WITH gone AS (
  DELETE FROM blob
  WHERE digest = ANY ($1) AND uses <= 0 AND NOT EXISTS (SELECT 1 FROM blob_pin WHERE blob_pin.digest = blob.digest)
  RETURNING body
)
DELETE FROM blob_chunk USING gone WHERE blob_chunk.body = gone.body
