SELECT seq, kind, data FROM delta INDEXED BY delta_of WHERE no = ?1 ORDER BY seq
