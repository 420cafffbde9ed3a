-- What nothing refers to, and nobody is about to.
SELECT digest FROM blob
WHERE uses <= 0 AND NOT EXISTS (SELECT 1 FROM blob_pin WHERE blob_pin.digest = blob.digest)
ORDER BY digest
LIMIT 10000
