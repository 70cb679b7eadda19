-- The profile that a registration began with, and its revision. Null for registrations without one.
alter table "connector" add column "profile" text, add column "profile_revision" text;
