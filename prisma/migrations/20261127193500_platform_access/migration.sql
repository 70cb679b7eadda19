-- Which platforms a bank serves: all of them until its partner decides otherwise.
alter table bank
  add column platform_access_mode text not null default 'ALL',
  add column platform_organization_ids text[] not null default '{}';

-- What the customer and the client of a consent were notified of last.
alter table consent
  add column suspended_at timestamptz(3),
  add column resumed_at timestamptz(3);
create index consent_bank_id_client_id_suspended_at_idx on consent (bank_id, client_id, suspended_at) where status = 'ACTIVE';
