-- The sign-in of the person who attends a certification run; deleted when the run ends.
create table "certification_sign_in" (
  "run_id" text not null,
  "link_digest" text not null,
  "state_digest" text,
  "sealed" text not null,
  "attempt_count" integer not null default 0,
  "expires_at" timestamptz(3) not null,
  "returned_at" timestamptz(3),
  "resumed_at" timestamptz(3),
  constraint "certification_sign_in_pkey" primary key ("run_id")
);
create unique index "certification_sign_in_link_digest_key" on "certification_sign_in" ("link_digest");
create unique index "certification_sign_in_state_digest_key" on "certification_sign_in" ("state_digest");
alter table "certification_sign_in" add constraint "certification_sign_in_run_id_fkey"
  foreign key ("run_id") references "certification_run" ("id") on delete restrict on update cascade;
