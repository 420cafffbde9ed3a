SELECT child.child_index, child.id, child.kind, child.phase, child.error, output.data, output.blob
FROM job AS child INDEXED BY job_child LEFT JOIN output ON output.no = child.no
WHERE child.parent = ?1 AND child.child_index > ?2
ORDER BY child.child_index LIMIT ?3
