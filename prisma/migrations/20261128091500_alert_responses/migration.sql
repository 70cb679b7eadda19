-- What a bank lets its customer answer to an alert, until when, and by which event the bank knows the alert.
create table "alert_question" (
  "alert_id" text not null,
  "connector_id" text not null,
  "options" text[] not null,
  "respond_by" timestamptz(3) not null,
  "event_digest" text not null,
  "sealed_event_id" text not null,
  "detail_viewed_at" timestamptz(3),
  constraint "alert_question_pkey" primary key ("alert_id"),
  constraint "alert_question_alert_id_fkey" foreign key ("alert_id") references "alert" ("id") on delete cascade on update cascade
);
create index "alert_question_event_digest_idx" on "alert_question" ("event_digest");

-- The answers that customers gave, and what became of them at the bank.
create table "alert_response" (
  "id" text not null,
  "alert_id" text not null,
  "client_id" text not null,
  "consent_id" text not null,
  "answer" text not null,
  "status" text not null,
  "sealed_message" text,
  "created_at" timestamptz(3) not null,
  "sent_at" timestamptz(3),
  "settled_at" timestamptz(3),
  constraint "alert_response_pkey" primary key ("id"),
  constraint "alert_response_alert_id_fkey" foreign key ("alert_id") references "alert" ("id") on delete cascade on update cascade
);
create unique index "alert_response_alert_id_answer_key" on "alert_response" ("alert_id", "answer");
