-- Alerts name their bank and customer themselves, and when they are shown.
alter table "alert" add column "bank_id" text, add column "customer_id" text, add column "shown_at" timestamptz(3);
update "alert" set "bank_id" = "account"."bank_id", "customer_id" = "account"."customer_id", "shown_at" = "alert"."created_at"
  from "account" where "account"."id" = "alert"."account_id";
-- Nobody could see an alert without an account.
delete from "delivery_attempt" where "delivery_id" in
  (select "delivery"."id" from "delivery" join "alert" on "alert"."id" = "alert_id" where "account_id" is null);
delete from "delivery" where "alert_id" in (select "id" from "alert" where "account_id" is null);
delete from "alert" where "account_id" is null;
alter table "alert" alter column "bank_id" set not null, alter column "customer_id" set not null, alter column "shown_at" set not null;
create index "alert_customer_id_shown_at_idx" on "alert" ("customer_id", "shown_at");
create index "alert_created_at_idx" on "alert" ("created_at");
drop index "alert_account_id_created_at_idx";
create index "alert_account_id_idx" on "alert" ("account_id");

-- The number of messages that a client was sent about a customer.
create table "delivery_sequence" (
  "client_id" text not null,
  "customer_id" text not null,
  "last_sequence" integer not null,
  constraint "delivery_sequence_pkey" primary key ("client_id", "customer_id")
);

-- A delivery has the bytes of its message, its place among those of its customer, and the number of its last attempt.
alter table "delivery" add column "customer_id" text, add column "sequence" integer not null default 0,
  add column "priority" text not null default 'STANDARD', add column "body" text,
  add column "last_attempt_number" integer not null default 0;
update "delivery" set "customer_id" = "alert"."customer_id",
  "priority" = case when "alert"."severity" = 'URGENT' then 'URGENT' else 'STANDARD' end,
  "last_attempt_number" =
    coalesce((select max("number") from "delivery_attempt" where "delivery_attempt"."delivery_id" = "delivery"."id"), 0)
  from "alert" where "alert"."id" = "delivery"."alert_id";
drop index "delivery_webhook_endpoint_id_next_attempt_at_idx";
create index "delivery_webhook_endpoint_id_priority_next_attempt_at_idx" on "delivery" ("webhook_endpoint_id", "priority", "next_attempt_at")
  where "status" = 'PENDING';
drop index "delivery_consent_id_idx";
create index "delivery_consent_id_idx" on "delivery" ("consent_id") where "status" = 'PENDING';

-- Planning builds the messages of pending deliveries from before.
insert into "outbox_message" ("id", "topic", "subject_id", "next_attempt_at")
  select 'msg_' || md5("alert_id"), 'alert.received', "alert_id", current_timestamp
  from "delivery" where "status" = 'PENDING' group by "alert_id";

-- What is pending, and what is to be deleted.
drop index "outbox_message_processed_at_next_attempt_at_idx";
create index "outbox_message_topic_next_attempt_at_idx" on "outbox_message" ("topic", "next_attempt_at") where "processed_at" is null;
create index "outbox_message_processed_at_idx" on "outbox_message" ("processed_at") where "processed_at" is not null;
