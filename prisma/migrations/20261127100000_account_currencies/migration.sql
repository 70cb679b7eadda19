-- An account can hold several currencies.
alter table account add column currencies text[] default array[]::text[];
update account set currencies = array[currency] where currency is not null;
alter table account drop column currency;

-- A cache: what was saved of bands under other names is fetched again.
delete from snapshot;
