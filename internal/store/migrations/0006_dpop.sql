-- The key that a code, or the refresh tokens of a public client, are bound to (RFC 9449 §5, §10). Empty for none.

ALTER TABLE codes ADD COLUMN dpop_jkt TEXT NOT NULL DEFAULT '';
ALTER TABLE grants ADD COLUMN dpop_jkt TEXT NOT NULL DEFAULT '';
