-- What people gave to clients, and what was taken back.

CREATE TABLE codes (
  hash         BLOB PRIMARY KEY,
  grant_id     TEXT NOT NULL UNIQUE,
  issuer       TEXT NOT NULL,
  subject      TEXT NOT NULL,
  client       TEXT NOT NULL,
  client_name  TEXT NOT NULL,
  redirect_uri TEXT NOT NULL,
  challenge    TEXT NOT NULL,
  resource     TEXT NOT NULL,
  nonce        TEXT NOT NULL,
  scopes       TEXT NOT NULL,
  auth_time    BIGINT NOT NULL,
  expires      BIGINT NOT NULL,
  session_id   TEXT NOT NULL,
  methods_json TEXT NOT NULL,
  taken_at     BIGINT NOT NULL DEFAULT 0,
  revoked      BOOLEAN NOT NULL DEFAULT FALSE
);
CREATE INDEX codes_subject ON codes (subject);
CREATE INDEX codes_client ON codes (client);
CREATE INDEX codes_expires ON codes (expires);

CREATE TABLE grants (
  grant_id       TEXT PRIMARY KEY,
  issuer         TEXT NOT NULL,
  subject        TEXT NOT NULL,
  client         TEXT NOT NULL,
  client_name    TEXT NOT NULL,
  resource       TEXT NOT NULL,
  scopes         TEXT NOT NULL,
  created_at     BIGINT NOT NULL,
  auth_time      BIGINT NOT NULL,
  last_used      BIGINT NOT NULL,
  expires        BIGINT NOT NULL,
  idle_timeout   BIGINT NOT NULL, -- microseconds, 0 for none
  session_id     TEXT NOT NULL,
  methods_json   TEXT NOT NULL,
  nonce          TEXT NOT NULL,
  revoked_at     BIGINT NOT NULL DEFAULT 0,
  revoked_reason TEXT NOT NULL DEFAULT ''
);
CREATE INDEX grants_subject ON grants (subject);
CREATE INDEX grants_client ON grants (client);
CREATE INDEX grants_expires ON grants (expires);

-- Every refresh token that a grant ever had, so that reuse is noticed. The successor is sealed under the old token.
CREATE TABLE refresh_tokens (
  hash             BLOB PRIMARY KEY,
  grant_id         TEXT NOT NULL REFERENCES grants (grant_id) ON DELETE CASCADE,
  created_at       BIGINT NOT NULL,
  rotated_at       BIGINT NOT NULL DEFAULT 0,
  sealed_successor BLOB
);
CREATE INDEX refresh_tokens_grant ON refresh_tokens (grant_id);
CREATE INDEX refresh_tokens_sealed ON refresh_tokens (rotated_at) WHERE sealed_successor IS NOT NULL;

CREATE TABLE revocations (
  seq        BIGINT PRIMARY KEY,
  kind       TEXT NOT NULL,
  issuer     TEXT NOT NULL,
  subject    TEXT NOT NULL,
  before_at  BIGINT NOT NULL,
  expires    BIGINT NOT NULL,
  reason     TEXT NOT NULL
);
CREATE INDEX revocations_subject ON revocations (kind, subject);

-- The last number given to a revocation. Its only row is also the lock that puts revocations in one order.
CREATE TABLE revocation_seq (last BIGINT NOT NULL);
INSERT INTO revocation_seq (last) VALUES (0);

CREATE TABLE used_ids (
  id_hash BLOB PRIMARY KEY,
  purpose TEXT NOT NULL,
  expires BIGINT NOT NULL
);
CREATE INDEX used_ids_expires ON used_ids (expires);
