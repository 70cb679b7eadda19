-- Banks and connectors by the words of the contract.

alter table bank rename column name_key to normalized_name;
alter index bank_name_key_key rename to bank_normalized_name_key;

alter table connector rename column public_keys to jwks;
alter table connector rename column certificate to client_certificate;
alter table connector rename column bank_client_id to client_id_at_bank;
alter table connector rename column new_consents to accepts_new_consents;
alter table connector rename column events_asked_at to events_polled_at;
update connector set status = 'ACTIVE' where status = 'LIVE';

alter table maintenance_window rename to outage;
alter table outage rename column "from" to starts_at;
alter table outage rename column "to" to ends_at;
alter table outage rename constraint maintenance_window_pkey to outage_pkey;
alter table outage rename constraint maintenance_window_bank_id_fkey to outage_bank_id_fkey;
alter index maintenance_window_bank_id_to_idx rename to outage_bank_id_ends_at_idx;
update outage set id = 'outg' || substr(id, 5) where id like 'mtnc\_%';

alter table certification rename to certification_run;
alter table certification_run rename column at to created_at;
alter table certification_run rename column kind to trigger;
alter table certification_run rename column statement to signed_report;
alter table certification_run add column started_at timestamptz(3);
alter table certification_run add column status text not null default 'RUNNING';
alter table certification_run rename constraint certification_pkey to certification_run_pkey;
alter table certification_run rename constraint certification_connector_id_fkey to certification_run_connector_id_fkey;
alter index certification_connector_id_at_idx rename to certification_run_connector_id_created_at_idx;
alter index certification_at_idx rename to certification_run_created_at_idx;
alter table certification_run alter column trigger set default 'PARTNER';
update certification_run set
  trigger = case trigger when 'MANUAL' then 'PARTNER' when 'NIGHTLY' then 'SCHEDULED' else trigger end,
  -- When a run began was not stored; it waited at most for the runs before it.
  started_at = case when finished_at is not null or claimed_until is not null then created_at end,
  status = case when finished_at is null then 'RUNNING' when passed then 'PASSED' else 'FAILED' end,
  checks = case when jsonb_typeof(checks) <> 'array' then checks else (
    select coalesce(jsonb_agg(jsonb_build_object(
      'name', old -> 'name',
      'status', case when (old -> 'passed')::boolean then 'PASSED'
        when old ->> 'reason' in ('SKIPPED', 'NOT_TRIED') then 'SKIPPED' else 'FAILED' end,
      'code', case when old ->> 'reason' in ('SKIPPED', 'NOT_TRIED') then to_jsonb('PREREQUISITE_FAILED'::text) else old -> 'reason' end,
      'failureCause', old -> 'failureCause',
      'durationMs', old -> 'tookMs') order by position), '[]'::jsonb)
    from jsonb_array_elements(checks) with ordinality as entry (old, position)) end;
alter table certification_run drop column passed;

alter table bank_calls rename to bank_call_count;
alter table bank_call_count rename column calls to call_count;
alter table bank_call_count rename column failures to failure_count;
alter table bank_call_count rename column total_ms to total_duration_ms;
alter table bank_call_count rename constraint bank_calls_pkey to bank_call_count_pkey;
alter table bank_call_count rename constraint bank_calls_connector_id_fkey to bank_call_count_connector_id_fkey;
alter index bank_calls_minute_idx rename to bank_call_count_minute_idx;

alter table bank_failure rename to bank_failure_count;
alter table bank_failure_count rename constraint bank_failure_pkey to bank_failure_count_pkey;
alter table bank_failure_count rename constraint bank_failure_connector_id_fkey to bank_failure_count_connector_id_fkey;
alter index bank_failure_minute_idx rename to bank_failure_count_minute_idx;

alter table bank_problem rename to response_issue;
alter table response_issue rename column problem to code;
alter table response_issue rename constraint bank_problem_pkey to response_issue_pkey;
alter table response_issue rename constraint bank_problem_connector_id_fkey to response_issue_connector_id_fkey;
alter index bank_problem_day_idx rename to response_issue_day_idx;

alter table connector_notice rename column at to occurred_at;
alter index connector_notice_connector_id_at_idx rename to connector_notice_connector_id_occurred_at_idx;

-- The ledger keeps what happened; only the words for it change, this once.
alter table ledger_entry disable trigger ledger_entry_only_grows;
update ledger_entry set changes = replace(changes::text, '"LIVE"', '"ACTIVE"')::jsonb
where kind in ('CONNECTOR_LIVE', 'CONNECTOR_SUSPENDED') and changes is not null;
update ledger_entry set changes = replace(changes::text, '"newConsents"', '"acceptsNewConsents"')::jsonb
where kind in ('NEW_CONSENTS_DISABLED', 'NEW_CONSENTS_ENABLED') and changes is not null;
update ledger_entry set changes = replace(changes::text, '"field": "clientId"', '"field": "clientIdAtBank"')::jsonb
where kind = 'GATEWAY_REGISTERED_AT_BANK' and changes is not null;
update ledger_entry set changes = jsonb_build_array(
  jsonb_build_object('field', 'startsAt', 'before', '[]'::jsonb, 'after', jsonb_build_array(changes -> 0 -> 'after' -> 0)),
  jsonb_build_object('field', 'endsAt', 'before', '[]'::jsonb, 'after', jsonb_build_array(changes -> 0 -> 'after' -> 1)))
where kind = 'MAINTENANCE_ANNOUNCED' and changes -> 0 ->> 'field' = 'window';
update ledger_entry set kind = case kind
  when 'MAINTENANCE_ANNOUNCED' then 'OUTAGE_ANNOUNCED'
  when 'INCIDENT_ENDED' then 'OUTAGE_ENDED'
  else 'CONNECTOR_ACTIVATED' end
where kind in ('MAINTENANCE_ANNOUNCED', 'INCIDENT_ENDED', 'CONNECTOR_LIVE');
alter table ledger_entry enable trigger ledger_entry_only_grows;
