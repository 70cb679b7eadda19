-- An endpoint may receive the messages about each customer in order.
alter table "webhook_endpoint" add column "ordering" text not null default 'NONE';
alter table "delivery" add column "in_order" boolean not null default false;
create index "delivery_webhook_endpoint_id_customer_id_sequence_idx" on "delivery" ("webhook_endpoint_id", "customer_id", "sequence")
  where "status" = 'PENDING' and "in_order";
