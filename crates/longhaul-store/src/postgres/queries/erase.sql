-- Everything of these jobs goes, and what it was that they kept in the blob store is told.
WITH inputs AS (DELETE FROM input WHERE no = ANY ($1) RETURNING digest, size),
outputs AS (DELETE FROM output WHERE no = ANY ($1) RETURNING digest, size),
steps AS (DELETE FROM step WHERE no = ANY ($1) RETURNING digest, size),
answers AS (DELETE FROM answer WHERE no = ANY ($1) RETURNING digest, size),
events AS (DELETE FROM event WHERE no = ANY ($1)),
deltas AS (DELETE FROM delta WHERE no = ANY ($1)),
attempts AS (DELETE FROM attempt WHERE no = ANY ($1)),
jobs AS (DELETE FROM job WHERE no = ANY ($1))
SELECT digest, size FROM inputs WHERE digest IS NOT NULL
UNION ALL
SELECT digest, size FROM outputs WHERE digest IS NOT NULL
UNION ALL
SELECT digest, size FROM steps WHERE digest IS NOT NULL
UNION ALL
SELECT digest, size FROM answers WHERE digest IS NOT NULL
