-- The upload is over; its bytes go when $2 says that they are not needed.
WITH ended AS (DELETE FROM blob_upload WHERE body = $1)
DELETE FROM blob_chunk WHERE body = $1 AND $2
