-- The words by which a customer recognizes the alerts of a client.
create table "alert_phrase" (
  "id" text not null,
  "client_id" text not null,
  "customer_id" text not null,
  "sealed" text not null,
  constraint "alert_phrase_pkey" primary key ("id")
);
create unique index "alert_phrase_client_id_customer_id_key" on "alert_phrase" ("client_id", "customer_id");
