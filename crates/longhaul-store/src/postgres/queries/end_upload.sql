-- The upload is over. No row: it was over before, with what it had stored.
DELETE FROM blob_upload WHERE body = $1 RETURNING body
