-- Expiry is watched per connector.
drop index connector_credential_expires_at_idx;
