INSERT INTO blob_pin (digest, node, pins) VALUES ($1, $2, 1)
ON CONFLICT (digest, node) DO UPDATE SET pins = blob_pin.pins + 1
