-- What retention deletes by, oldest first.
create index "delivery_created_at_idx" on "delivery" ("created_at") where "ended_at" is not null;
create index "delivery_attempt_attempted_at_idx" on "delivery_attempt" ("attempted_at");

-- The ledger only grows, until entries are 730 days old.
drop trigger "ledger_entry_only_grows" on "ledger_entry";
create trigger "ledger_entry_only_grows" before update or truncate on "ledger_entry"
  for each statement execute function "ledger_only_grows"();
create trigger "ledger_entry_is_retained" before delete on "ledger_entry"
  for each row when (old.occurred_at > statement_timestamp() - interval '730 days') execute function "ledger_only_grows"();
