-- An endpoint receives webhooks or Security Event Tokens.
alter table "webhook_endpoint" add column "format" text not null default 'STANDARD_WEBHOOKS';
alter table "delivery" add column "format" text not null default 'STANDARD_WEBHOOKS';
alter table "delivery_attempt" add column "set_error" text;
