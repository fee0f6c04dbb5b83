-- A database as version 1 of the schema left it. Never edit: it stands for installations that exist.
CREATE TABLE gatehouse_schema (version BIGINT PRIMARY KEY, applied_at BIGINT NOT NULL);
INSERT INTO gatehouse_schema VALUES (1, 1795000000000000);
CREATE TABLE users (
  id             TEXT PRIMARY KEY,
  username       TEXT NOT NULL,
  username_key   TEXT NOT NULL UNIQUE,
  name           TEXT NOT NULL,
  email          TEXT NOT NULL,
  email_verified BOOLEAN NOT NULL,
  groups_json    TEXT NOT NULL,
  claims_json    TEXT NOT NULL,
  password_hash  TEXT NOT NULL,
  disabled       BOOLEAN NOT NULL,
  created_at     BIGINT NOT NULL,
  updated_at     BIGINT NOT NULL
);
CREATE TABLE passkeys (
  credential_id BLOB PRIMARY KEY,
  user_id       TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
  name          TEXT NOT NULL,
  data          BLOB NOT NULL,
  created_at    BIGINT NOT NULL,
  last_used     BIGINT NOT NULL
);
CREATE INDEX passkeys_user ON passkeys (user_id);
CREATE TABLE browser_sessions (
  token_hash   BLOB PRIMARY KEY,
  id           TEXT NOT NULL UNIQUE,
  user_id      TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
  auth_time    BIGINT NOT NULL,
  created_at   BIGINT NOT NULL,
  last_seen    BIGINT NOT NULL,
  expires      BIGINT NOT NULL,
  methods_json TEXT NOT NULL,
  user_agent   TEXT NOT NULL
);
CREATE INDEX browser_sessions_user ON browser_sessions (user_id);
CREATE INDEX browser_sessions_expires ON browser_sessions (expires);
INSERT INTO users VALUES ('u1', 'Ann', 'ann', 'Ann Example', 'ann@example.com', TRUE, '["eng"]', '{"cid":"0oa"}', '$argon2id$old', FALSE, 1795000000000001, 1795000000000002);
INSERT INTO users VALUES ('u2', 'bob', 'bob', '', '', FALSE, 'null', 'null', '', TRUE, 1795000000000003, 1795000000000003);
INSERT INTO passkeys VALUES (CAST('credential' AS BLOB), 'u1', 'laptop', CAST('{"counter":7}' AS BLOB), 1795000000000004, 0);
