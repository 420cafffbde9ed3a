SELECT seq, kind, data FROM delta WHERE no = $1 AND seq > $2 ORDER BY seq LIMIT 256
