-- Certificates that others issued, their keys, and client secrets: the keys and secrets are sealed.
create table connector_credential (
  id text not null constraint connector_credential_pkey primary key,
  connector_id text not null constraint connector_credential_connector_id_fkey references connector (id) on delete restrict on update cascade,
  kind text not null,
  sealed text not null,
  public_key jsonb,
  certificate_request text,
  certificate_chain text,
  expires_at timestamptz(3),
  created_at timestamptz(3) not null,
  activated_at timestamptz(3),
  retired_at timestamptz(3)
);
create index connector_credential_connector_id_created_at_idx on connector_credential (connector_id, created_at);
create index connector_credential_expires_at_idx on connector_credential (expires_at);
