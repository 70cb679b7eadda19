-- Reports that the detail of an alert was viewed which a bank sends before the alert is stored.
create table "alert_detail_view" (
  "event_digest" text not null,
  "viewer_id" text not null,
  "received_at" timestamptz(3) not null,
  constraint "alert_detail_view_pkey" primary key ("event_digest", "viewer_id")
);
create index "alert_detail_view_received_at_idx" on "alert_detail_view" ("received_at");
