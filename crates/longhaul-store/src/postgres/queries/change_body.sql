UPDATE blob SET body = $2 WHERE digest = $1
