-- Scopes that authorize nothing are not offered: clients and consents lose them.
update client set scopes = array(
  select scope from unnest(scopes) with ordinality as held (scope, place)
  where scope not in ('alerts:respond', 'alerts:publish', 'ledger:verify') order by place
)
where scopes && array['alerts:respond', 'alerts:publish', 'ledger:verify'];

update consent set scopes = array(
  select scope from unnest(scopes) with ordinality as held (scope, place)
  where scope <> 'alerts:respond' order by place
)
where 'alerts:respond' = any(scopes);
