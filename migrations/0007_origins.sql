-- Keys that stand in pages: the origins whose pages may send with them, by spaces. NULL for the keys of programs.
ALTER TABLE api_keys ADD COLUMN origins TEXT
