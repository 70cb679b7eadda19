-- Secrets of endpoints rotate: several of them sign for a while, each with a key pair.
create table "webhook_secret" (
  "id" text not null,
  "webhook_endpoint_id" text not null,
  "sealed" text not null,
  "created_at" timestamptz(3) not null,
  "signs_until" timestamptz(3),
  constraint "webhook_secret_pkey" primary key ("id"),
  constraint "webhook_secret_webhook_endpoint_id_fkey" foreign key ("webhook_endpoint_id") references "webhook_endpoint" ("id")
    on delete cascade on update cascade
);
create index "webhook_secret_webhook_endpoint_id_created_at_idx" on "webhook_secret" ("webhook_endpoint_id", "created_at");
create index "webhook_secret_signs_until_idx" on "webhook_secret" ("signs_until") where "signs_until" is not null;
-- The context of a sealed value is the endpoint, so that values stay as they are.
insert into "webhook_secret" ("id", "webhook_endpoint_id", "sealed", "created_at")
  select 'whsc_' || left(md5("id"), 22), "id", "sealed_signing_secret", "created_at" from "webhook_endpoint";
alter table "webhook_endpoint" drop column "sealed_signing_secret", add column "public_key" text,
  add column "secret_overlap_ends_at" timestamptz(3);
