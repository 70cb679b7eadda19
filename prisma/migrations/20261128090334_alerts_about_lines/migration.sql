-- An alert can be about a line that the customer drew for one client.
alter table "alert" add column "client_id" text, add column "balance_line_id" text, add column "balance_line_direction" text;
