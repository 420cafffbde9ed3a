-- How often each blob is referred to, against how often that is counted. The digest is the first 32 bytes of a reference.
SELECT NULL, 'blob ' || lower(substr(hex(digest), 1, 12)) || '… is referred to ' || found || ' times and counted '
  || coalesce(counted, 0) || ' times'
FROM (
  SELECT digest, sum(found) AS found, max(counted) AS counted
  FROM (
    SELECT substr(blob, 1, 32) AS digest, 1 AS found, NULL AS counted FROM (
      SELECT blob FROM input WHERE blob IS NOT NULL
      UNION ALL SELECT blob FROM output WHERE blob IS NOT NULL
      UNION ALL SELECT blob FROM step WHERE blob IS NOT NULL
      UNION ALL SELECT blob FROM answer WHERE blob IS NOT NULL
      UNION ALL SELECT blob FROM document_part WHERE blob IS NOT NULL
      UNION ALL SELECT content FROM document
    )
    UNION ALL SELECT digest, 0, uses FROM blob_use
  )
  GROUP BY digest
)
WHERE found <> coalesce(counted, 0)
