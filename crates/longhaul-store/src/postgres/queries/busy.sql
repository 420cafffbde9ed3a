SELECT DISTINCT worker FROM job WHERE phase IN (2, 3) AND phase = 3 AND worker IS NOT NULL
