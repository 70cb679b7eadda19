-- Columns by the words that the code and the contract use.

-- A cache: what was saved under the old names is fetched again.
delete from snapshot;
alter table snapshot rename column bank_account to bank_account_key;
alter table snapshot rename column told_type to disclosed_type;

alter table disclosure rename column account_key to disclosure_key;
alter table disclosure rename column amounts_at to exact_at;
alter table disclosure rename column amount_type to exact_type;
alter table disclosure rename column questions_at to threshold_at;
alter table disclosure rename column changed_at to updated_at;
alter index disclosure_changed_at_idx rename to disclosure_updated_at_idx;

alter table webhook_endpoint rename column state to status;
alter table delivery rename column state to status;
alter table connector rename column state to status;
alter table connection rename column state to status;
alter table client rename column state to status;
alter table consent rename column state to status;
alter table consent rename column revoked_by to ended_by;
alter table account rename column number_end to last_four_digits;

alter index consent_customer_id_client_id_state_idx rename to consent_customer_id_client_id_status_idx;
alter index connector_bank_id_state_idx rename to connector_bank_id_status_idx;
alter index delivery_endpoint_id_state_created_at_id_idx rename to delivery_endpoint_id_status_created_at_id_idx;

update connector set registration = registration - 'handoff' || jsonb_build_object('bankAppUrl', registration -> 'handoff')
where registration ? 'handoff';
update connector set registration = registration - 'deadlineMs' || jsonb_build_object('readTimeoutMs', registration -> 'deadlineMs')
where registration ? 'deadlineMs';

-- The ledger keeps what happened; only the words for it change, this once.
alter table ledger_entry disable trigger ledger_entry_only_grows;
update ledger_entry set kind = case kind
  when 'CONNECTOR_INTRODUCED' then 'GATEWAY_REGISTERED_AT_BANK'
  when 'CONNECTOR_CLOSED' then 'NEW_CONSENTS_DISABLED'
  when 'CONNECTOR_OPENED' then 'NEW_CONSENTS_ENABLED'
  else 'CERTIFICATION_NOT_PASSED' end
where kind in ('CONNECTOR_INTRODUCED', 'CONNECTOR_CLOSED', 'CONNECTOR_OPENED', 'CONNECTOR_NOT_CERTIFIED');
alter table ledger_entry enable trigger ledger_entry_only_grows;

update connector_notice set kind = 'RECOVERED' where kind = 'REPAIRED';
update bank_problem set problem = case problem
  when 'NOT_AN_ACCOUNT' then 'INVALID_ACCOUNT'
  when 'NOT_A_BALANCE' then 'INVALID_BALANCE'
  when 'OTHER_ACCOUNT' then 'UNREQUESTED_ACCOUNT'
  else 'CONFLICTING_BALANCES' end
where problem in ('NOT_AN_ACCOUNT', 'NOT_A_BALANCE', 'OTHER_ACCOUNT', 'CONTRADICTING_BALANCES');
