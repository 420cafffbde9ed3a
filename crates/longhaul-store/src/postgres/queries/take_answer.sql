DELETE FROM answer WHERE no = $1 AND place = (SELECT min(place) FROM answer WHERE no = $1) RETURNING digest, size
