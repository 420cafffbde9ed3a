INSERT INTO abandoned (parent_no) SELECT * FROM unnest($1::int8[]) ON CONFLICT (parent_no) DO NOTHING
