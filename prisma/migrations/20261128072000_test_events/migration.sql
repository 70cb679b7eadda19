-- A delivery can be of a test event, which is about no alert and no customer.
alter table "delivery" add column "event_type" text not null default 'alert.received', alter column "alert_id" drop not null,
  alter column "consent_id" drop not null;
create index "delivery_webhook_endpoint_id_created_at_idx" on "delivery" ("webhook_endpoint_id", "created_at") where "priority" = 'TEST';
create index "delivery_next_attempt_at_idx" on "delivery" ("next_attempt_at") where "priority" = 'TEST' and "status" = 'PENDING';
