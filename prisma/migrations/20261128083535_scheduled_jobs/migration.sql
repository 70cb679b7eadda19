-- Jobs that run by schedule, each in one process at a time.
create table "scheduled_job" (
  "name" text not null,
  "next_run_at" timestamptz(3) not null,
  "claimed_until" timestamptz(3),
  "last_finished_at" timestamptz(3),
  "last_failed_at" timestamptz(3),
  "failure_count" integer not null default 0,
  "failing_since" timestamptz(3),
  "last_error_code" text,
  constraint "scheduled_job_pkey" primary key ("name")
);
