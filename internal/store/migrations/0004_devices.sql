-- Devices that wait for a person to type in their code (RFC 8628). Once allowed, a row becomes an authorization code.

CREATE TABLE device_requests (
  device_hash   BLOB PRIMARY KEY,
  user_tag      BLOB NOT NULL UNIQUE, -- a MAC of the user code, which is too short for a plain hash
  client        TEXT NOT NULL,
  client_name   TEXT NOT NULL,
  resource      TEXT NOT NULL,
  scopes        TEXT NOT NULL,
  address       TEXT NOT NULL,        -- that the device asked from
  created_at    BIGINT NOT NULL,
  expires       BIGINT NOT NULL,
  poll_interval BIGINT NOT NULL,      -- microseconds
  polled_at     BIGINT NOT NULL DEFAULT 0,
  denied        BOOLEAN NOT NULL DEFAULT FALSE
);
CREATE INDEX device_requests_expires ON device_requests (expires);
