-- Why a certification run could not be completed, such as an error of the gateway itself.
alter table "certification_run" add column "failure_code" text;
