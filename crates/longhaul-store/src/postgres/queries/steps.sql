SELECT name, data, digest, size FROM step WHERE no = $1 ORDER BY place
