-- When a request claimed the present step of the sign-in, so that several requests continue it once.
alter table "certification_sign_in" add column "step_claimed_at" timestamptz(3);
