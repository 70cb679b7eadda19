-- Organizations in place of platforms, and the contract's words for clients, deliveries, the ledger and the outbox.

alter table platform rename to organization;
alter index platform_pkey rename to organization_pkey;
alter index platform_name_key rename to organization_name_key;
alter table client rename column platform_id to organization_id;
alter table client rename constraint client_platform_id_fkey to client_organization_id_fkey;

-- Whoever administers is the operator; whoever registers connectors is a bank.
alter table organization add column kind text not null default 'PLATFORM';
update organization set kind = 'OPERATOR' where exists (
  select from client where organization_id = organization.id and scopes && array['clients:manage', 'platforms:manage', 'banks:manage']);
update organization set kind = 'BANK' where kind = 'PLATFORM' and exists (
  select from client where organization_id = organization.id and 'connectors:manage' = any(scopes));
alter table organization alter column kind drop default;
-- Clients follow by their foreign key.
update organization set id = 'org_' || substr(id, 6) where id like 'plat\_%';

alter table client rename column keys to jwks;
alter table client rename column proven_kids to authenticated_kids;
alter table client rename column quota_per_minute to points_per_minute;
alter table client rename column customer_quota_per_minute to points_per_customer_per_minute;
alter table client rename column operations to operation_policy;
update client set operation_policy = 'REGISTERED_ONLY' where operation_policy = 'REGISTERED';
update client set scopes = array_replace(scopes, 'platforms:manage', 'organizations:manage')
where 'platforms:manage' = any(scopes);
-- Tokens, and whatever else names the scope.
update oauth_artifact set payload = replace(payload::text, 'platforms:manage', 'organizations:manage')::jsonb
where payload::text like '%platforms:manage%';

alter table client_usage rename column requests to request_count;
alter table client_usage rename column errors to error_count;

alter table attempt rename to delivery_attempt;
alter table delivery_attempt rename column at to attempted_at;
alter table delivery_attempt rename column status to http_status;
alter index attempt_pkey rename to delivery_attempt_pkey;
alter index attempt_delivery_id_number_key rename to delivery_attempt_delivery_id_number_key;
alter table delivery_attempt rename constraint attempt_delivery_id_fkey to delivery_attempt_delivery_id_fkey;

alter table delivery rename column endpoint_id to webhook_endpoint_id;
alter index delivery_alert_id_endpoint_id_key rename to delivery_alert_id_webhook_endpoint_id_key;
alter index delivery_endpoint_id_next_attempt_at_idx rename to delivery_webhook_endpoint_id_next_attempt_at_idx;
alter index delivery_endpoint_id_status_created_at_id_idx rename to delivery_webhook_endpoint_id_status_created_at_id_idx;
alter table delivery rename constraint delivery_endpoint_id_fkey to delivery_webhook_endpoint_id_fkey;
alter table webhook_endpoint rename column sealed_secret to sealed_signing_secret;

alter table idempotent_result rename to idempotency_record;
alter table idempotency_record rename column key to idempotency_key;
alter index idempotent_result_pkey rename to idempotency_record_pkey;
alter index idempotent_result_created_at_idx rename to idempotency_record_created_at_idx;
update idempotency_record set mutation = 'registerOrganization', result_id = 'org_' || substr(result_id, 6)
where mutation = 'registerPlatform';
-- Its results have another shape now.
delete from idempotency_record where mutation = 'replayDelivery';

alter table outbox_message rename column done_at to processed_at;
alter index outbox_message_done_at_next_attempt_at_idx rename to outbox_message_processed_at_next_attempt_at_idx;

-- Columns have other names: every one is looked through again.
delete from reseal_progress;
alter table reseal_progress rename column key_name to key_prefix;
alter table reseal_progress rename column position to last_row_id;
alter table reseal_progress rename column found to outdated_count;
alter table reseal_progress rename column clean_at to completed_at;

alter table ledger_entry rename column kind to action;
alter table ledger_entry rename column at to occurred_at;
alter index ledger_entry_customer_id_at_idx rename to ledger_entry_customer_id_occurred_at_idx;
alter index ledger_entry_kind_sequence_idx rename to ledger_entry_action_sequence_idx;
alter index ledger_entry_at_idx rename to ledger_entry_occurred_at_idx;

-- The ledger keeps what happened; only the words for it change, this once.
alter table ledger_entry disable trigger ledger_entry_only_grows;
update ledger_entry set subject_id = 'org_' || substr(subject_id, 6) where subject_id like 'plat\_%';
update ledger_entry set action = case action
  when 'PLATFORM_REGISTERED' then 'ORGANIZATION_REGISTERED'
  when 'PLATFORM_CHANGED' then 'ORGANIZATION_CHANGED'
  when 'WEBHOOK_REGISTERED' then 'WEBHOOK_ENDPOINT_REGISTERED'
  else 'WEBHOOK_ENDPOINT_CHANGED' end
where action in ('PLATFORM_REGISTERED', 'PLATFORM_CHANGED', 'WEBHOOK_REGISTERED', 'WEBHOOK_CHANGED');
update ledger_entry set changes = (
  select jsonb_agg(
    case item.value ->> 'field'
      when 'keys' then item.value || '{"field": "jwks"}'
      when 'quotaPerMinute' then item.value || '{"field": "pointsPerMinute"}'
      when 'customerQuotaPerMinute' then item.value || '{"field": "pointsPerCustomerPerMinute"}'
      when 'operations' then replace(item.value::text, '"REGISTERED"', '"REGISTERED_ONLY"')::jsonb || '{"field": "operationPolicy"}'
      when 'scopes' then replace(item.value::text, '"platforms:manage"', '"organizations:manage"')::jsonb
      else item.value end
    order by item.ordinality)
  from jsonb_array_elements(changes) with ordinality as item)
where action like 'CLIENT\_%' and jsonb_typeof(changes) = 'array' and changes <> '[]';
alter table ledger_entry enable trigger ledger_entry_only_grows;
