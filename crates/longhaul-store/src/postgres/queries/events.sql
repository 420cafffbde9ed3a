-- What streamed stands in a table of its own, and is put where its number belongs.
(
  SELECT seq, type, time, attempt, number, at, "real", text, error
  FROM event WHERE no = $1 AND seq > $2 ORDER BY seq LIMIT $3
)
UNION ALL
(
  SELECT seq, 10::int2, time, attempt, kind::int8, NULL::int8, NULL::float8, data, NULL::text
  FROM delta WHERE no = $1 AND seq > $2 ORDER BY seq LIMIT $3
)
ORDER BY seq LIMIT $3
