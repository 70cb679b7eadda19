-- Why a message failed last, and the messages that keep failing.
alter table "outbox_message" add column "last_error_code" text;
create index "outbox_message_created_at_id_idx" on "outbox_message" ("created_at", "id")
  where "processed_at" is null and "attempt_count" >= 10;
