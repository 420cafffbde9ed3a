SELECT no, data, digest, size FROM input WHERE no = ANY ($1)
