SELECT seq, type, time, attempt, number, at, "real", text, error
FROM event WHERE no = $1 AND seq > $2 ORDER BY seq LIMIT $3
