DELETE FROM delta WHERE no = ANY ($1)
