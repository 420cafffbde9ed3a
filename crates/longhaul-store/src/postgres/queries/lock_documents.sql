SELECT document.tenant, document.id
FROM document
JOIN unnest($1::text[], $2::uuid[]) AS wanted (tenant, id)
  ON document.tenant = wanted.tenant AND document.id = wanted.id
ORDER BY document.tenant, document.id
FOR UPDATE OF document
