-- Every reference to a blob, once for each row that has it.
SELECT blob FROM input WHERE blob IS NOT NULL
UNION ALL SELECT blob FROM output WHERE blob IS NOT NULL
UNION ALL SELECT blob FROM step WHERE blob IS NOT NULL
UNION ALL SELECT blob FROM answer WHERE blob IS NOT NULL
UNION ALL SELECT blob FROM document_part WHERE blob IS NOT NULL
UNION ALL SELECT content FROM document
