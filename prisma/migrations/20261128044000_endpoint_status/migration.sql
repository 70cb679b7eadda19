-- An endpoint says when and why it was disabled, and how its attempts end.
alter table "webhook_endpoint" add column "disabled_at" timestamptz(3), add column "disabled_reason" text,
  add column "failing_since" timestamptz(3), add column "failed_attempt_count" integer not null default 0,
  add column "last_success_at" timestamptz(3);
-- Until now, only a client could disable an endpoint.
update "webhook_endpoint" set "disabled_at" = current_timestamp, "disabled_reason" = 'CLIENT' where "status" = 'DISABLED';
