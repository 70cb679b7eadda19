-- The stream in which a bank sends its events, of a connector that has stream control.
create table "event_stream" (
  "connector_id" text not null,
  "status" text not null,
  "checked_at" timestamptz(3),
  "is_paused_by_gateway" boolean not null default false,
  "verification_digest" text,
  "verification_requested_at" timestamptz(3),
  "verified_at" timestamptz(3),
  "check_at" timestamptz(3) not null,
  constraint "event_stream_pkey" primary key ("connector_id"),
  constraint "event_stream_connector_id_fkey" foreign key ("connector_id") references "connector" ("id")
    on delete restrict on update cascade
);
