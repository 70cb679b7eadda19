-- Clients have a contact, and notices that are also sent to it by email.
alter table "client" add column "contact_email" text;

create table "client_notice" (
  "id" text not null,
  "client_id" text not null,
  "kind" text not null,
  "subject_id" text not null,
  "occurred_at" timestamptz(3) not null,
  constraint "client_notice_pkey" primary key ("id")
);
create index "client_notice_client_id_occurred_at_idx" on "client_notice" ("client_id", "occurred_at");
create index "client_notice_occurred_at_idx" on "client_notice" ("occurred_at");

create table "mail_message" (
  "id" text not null,
  "template" text not null,
  "recipient_kind" text not null,
  "recipient_id" text not null,
  "subject_id" text not null,
  "status" text not null,
  "attempt_count" integer not null default 0,
  "next_attempt_at" timestamptz(3) not null,
  "claimed_until" timestamptz(3),
  "created_at" timestamptz(3) not null,
  constraint "mail_message_pkey" primary key ("id")
);
create index "mail_message_next_attempt_at_idx" on "mail_message" ("next_attempt_at") where "status" = 'PENDING';
create index "mail_message_recipient_id_created_at_idx" on "mail_message" ("recipient_id", "created_at");
create index "mail_message_created_at_idx" on "mail_message" ("created_at");
