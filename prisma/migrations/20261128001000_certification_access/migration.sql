-- What certification runs have at banks: consents and tokens, until they are ended there.
create table "certification_access" (
  "id" text not null,
  "run_id" text not null,
  "sealed" text not null,
  "created_at" timestamptz(3) not null,
  constraint "certification_access_pkey" primary key ("id")
);
create index "certification_access_run_id_idx" on "certification_access" ("run_id");
alter table "certification_access" add constraint "certification_access_run_id_fkey"
  foreign key ("run_id") references "certification_run" ("id") on delete restrict on update cascade;
