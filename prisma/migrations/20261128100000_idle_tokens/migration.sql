-- When tokens that nobody uses are renewed, before the bank lets their refresh token end.
alter table "connection" add column "renewal_due_at" timestamptz(3);
update "connection" set "renewal_due_at" = "token_expires_at" + interval '7 days' where "sealed_access" is not null;
create index "connection_renewal_due_at_idx" on "connection" ("renewal_due_at") where "sealed_access" is not null;
