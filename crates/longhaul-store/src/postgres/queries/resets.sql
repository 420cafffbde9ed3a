SELECT number, seq FROM event WHERE no = $1 AND type = 11
