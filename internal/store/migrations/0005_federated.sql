-- People who sign in at identity providers, and what ties their sessions and grants to the sessions there.

CREATE TABLE federated_people (
  id             TEXT PRIMARY KEY, -- the subject here: random, never reused
  provider       TEXT NOT NULL,    -- its name in the configuration
  issuer         TEXT NOT NULL,
  subject        TEXT NOT NULL,    -- what names the person at that issuer for good
  token_subject  TEXT NOT NULL,    -- sub in that issuer's tokens, which at some is another for each application
  username       TEXT NOT NULL,
  name           TEXT NOT NULL,
  email          TEXT NOT NULL,    -- only when the provider has verified it
  groups_json    TEXT NOT NULL,
  groups_unknown BOOLEAN NOT NULL,
  claims_json    TEXT NOT NULL,    -- those that tokens carry
  known_json     TEXT NOT NULL,    -- whatever else the provider says, while a rule about it decides who may sign in
  sealed         BLOB,             -- the provider's refresh token
  created_at     BIGINT NOT NULL,
  signed_in_at   BIGINT NOT NULL,
  vouched_at     BIGINT NOT NULL,  -- when the provider last said yes
  lease          TEXT NOT NULL,    -- of the copy that redeems the refresh token, empty for none
  lease_until    BIGINT NOT NULL,
  interrupted    BOOLEAN NOT NULL, -- a copy took the lease and never said how it ended
  ended_reason   TEXT NOT NULL,    -- empty: may come in
  UNIQUE (provider, issuer, subject)
);
CREATE INDEX federated_people_token_subject ON federated_people (provider, token_subject);

-- Browsers that were sent to an identity provider and have not come back yet. The cookie names the row.
CREATE TABLE pending_sign_ins (
  token_hash BLOB PRIMARY KEY,
  sealed     BLOB NOT NULL,
  expires    BIGINT NOT NULL
);
CREATE INDEX pending_sign_ins_expires ON pending_sign_ins (expires);

ALTER TABLE codes ADD COLUMN idp_session TEXT NOT NULL DEFAULT '';
ALTER TABLE grants ADD COLUMN idp_session TEXT NOT NULL DEFAULT '';

-- Browser sessions are no longer of built-in users alone, so that user_id refers to one of two tables. The defaults are for
-- copies of the version before, which write without the new columns while an upgrade goes round.
CREATE TABLE browser_sessions_new (
  token_hash   BLOB PRIMARY KEY,
  id           TEXT NOT NULL UNIQUE,
  user_id      TEXT NOT NULL,
  auth_time    BIGINT NOT NULL,
  created_at   BIGINT NOT NULL,
  last_seen    BIGINT NOT NULL,
  expires      BIGINT NOT NULL,
  methods_json TEXT NOT NULL,
  user_agent   TEXT NOT NULL,
  provider     TEXT NOT NULL DEFAULT '', -- empty for built-in users
  idp_session  TEXT NOT NULL DEFAULT '', -- sid
  sealed       BLOB           -- the ID token, as a hint for signing out there
);
INSERT INTO browser_sessions_new SELECT token_hash, id, user_id, auth_time, created_at, last_seen, expires, methods_json, user_agent, '', '', NULL
  FROM browser_sessions;
DROP TABLE browser_sessions;
ALTER TABLE browser_sessions_new RENAME TO browser_sessions;
CREATE INDEX browser_sessions_user ON browser_sessions (user_id);
CREATE INDEX browser_sessions_expires ON browser_sessions (expires);
CREATE INDEX browser_sessions_idp ON browser_sessions (provider, idp_session);
