SELECT child.child_index, child.id, child.kind, child.phase, child.error, output.data, output.digest, output.size
FROM job AS child
LEFT JOIN output ON output.no = child.no
WHERE child.parent_no = $1 AND child.parent_no IS NOT NULL AND child.child_index > $2
ORDER BY child.child_index
LIMIT $3
