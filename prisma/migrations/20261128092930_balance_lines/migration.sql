-- Customers draw lines on balances: at most two on an account, and one change of them in 24 hours.
create table "balance_line" (
  "id" text not null,
  "client_id" text not null,
  "account_id" text not null,
  "disclosure_key" text not null,
  "sealed" text not null,
  "created_at" timestamptz(3) not null,
  "alerted_at" timestamptz(3),
  "check_due_at" timestamptz(3) not null,
  constraint "balance_line_pkey" primary key ("id"),
  constraint "balance_line_account_id_fkey" foreign key ("account_id") references "account" ("id") on delete cascade on update cascade
);
create index "balance_line_account_id_client_id_idx" on "balance_line" ("account_id", "client_id");
create index "balance_line_disclosure_key_idx" on "balance_line" ("disclosure_key");
create index "balance_line_check_due_at_idx" on "balance_line" ("check_due_at");
alter table "disclosure" add column "line_changed_at" timestamptz(3);
