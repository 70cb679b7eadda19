-- The newest alerts of a customer are read of each bank by itself.
create index "alert_customer_id_bank_id_shown_at_idx" on "alert" ("customer_id", "bank_id", "shown_at");
drop index "alert_customer_id_shown_at_idx";
