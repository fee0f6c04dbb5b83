-- Signing keys, sealed under the master key, and a sealed mark that shows whether the master key is the right one.

CREATE TABLE signing_keys (
  kid         TEXT PRIMARY KEY,
  alg         TEXT NOT NULL,
  sealed      BLOB NOT NULL,
  created_at  BIGINT NOT NULL,
  active_from BIGINT NOT NULL,
  retire_at   BIGINT NOT NULL,
  expires     BIGINT NOT NULL
);

CREATE TABLE master_key_mark (
  id     BIGINT PRIMARY KEY, -- always 1
  sealed BLOB NOT NULL
);
