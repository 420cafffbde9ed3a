-- A few pieces at a time: some megabytes in memory, whatever the size of the blob.
SELECT place, data
FROM blob_chunk
WHERE body = (SELECT body FROM blob WHERE digest = $1) AND place > $2
ORDER BY place
LIMIT 16
