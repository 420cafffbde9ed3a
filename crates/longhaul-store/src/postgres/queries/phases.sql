SELECT no, phase FROM job WHERE no = ANY ($1)
