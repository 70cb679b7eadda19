-- Runs so far had every check that there was, by the bank's test interface.
alter table "certification_run" add column "level" text not null default 'AUTOMATIC';
-- A STATIC run that passes leaves its connector CERTIFIED or DRAFT, as it was before.
alter table "certification_run" add column "was_certified" boolean not null default false;
