DELETE FROM abandoned WHERE parent_no = ANY ($1)
