UPDATE blob_pin SET pins = blob_pin.pins - gone.pins
FROM unnest($1::bytea[], $2::int8[]) AS gone (digest, pins)
WHERE blob_pin.digest = gone.digest AND blob_pin.node = $3
