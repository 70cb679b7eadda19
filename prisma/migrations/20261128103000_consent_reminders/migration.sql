-- When the client of a consent is next reminded of its end: 30, 7 and 1 days before it. Of consents from before, the reminders that
-- are still to come.
alter table "consent" add column "reminder_due_at" timestamptz(3);
update "consent" set "reminder_due_at" = (
  select min(step.due_at) from (
    select "expires_at" - days_before * interval '24 hours' as due_at from unnest(array[30, 7, 1]) as days_before) as step
  where step.due_at > now())
where "status" = 'ACTIVE' and "expires_at" > now() + interval '24 hours';
create index "consent_reminder_due_at_idx" on "consent" ("reminder_due_at") where "status" = 'ACTIVE';
