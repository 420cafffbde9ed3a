SELECT data, blob FROM input WHERE no = ?1
