SELECT data, blob FROM output WHERE no = ?1
