-- How many events of a bank had which outcome, by day.
create table "bank_event_count" (
  "connector_id" text not null,
  "day" date not null,
  "outcome" text not null,
  "event_type" text not null,
  "count" integer not null,
  constraint "bank_event_count_pkey" primary key ("connector_id", "day", "outcome", "event_type"),
  constraint "bank_event_count_connector_id_fkey" foreign key ("connector_id") references "connector" ("id")
    on delete restrict on update cascade
);
create index "bank_event_count_day_idx" on "bank_event_count" ("day");
