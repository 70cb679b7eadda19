-- When each client marked an alert as read.
create table "alert_read" (
  "alert_id" text not null,
  "client_id" text not null,
  "read_at" timestamptz(3) not null,
  constraint "alert_read_pkey" primary key ("alert_id", "client_id"),
  constraint "alert_read_alert_id_fkey" foreign key ("alert_id") references "alert" ("id") on delete cascade on update cascade
);
