-- Alerts and consents by the words of the contract.

alter table alert rename column ask to requested_action;
update alert set requested_action = case requested_action when 'NOTHING' then 'NONE' else 'CONFIRM_ACTIVITY' end
where requested_action in ('NOTHING', 'CONFIRM_IT_WAS_YOU');
-- An alert can be about no single account.
alter table alert alter column account_id drop not null;

alter table subject rename to pairwise_subject;
alter table pairwise_subject rename constraint subject_pkey to pairwise_subject_pkey;
alter table pairwise_subject rename constraint subject_client_id_fkey to pairwise_subject_client_id_fkey;
alter table pairwise_subject rename constraint subject_customer_id_fkey to pairwise_subject_customer_id_fkey;
alter index subject_client_id_sub_key rename to pairwise_subject_client_id_sub_key;
alter index subject_customer_id_idx rename to pairwise_subject_customer_id_idx;

alter table connection rename column renewing_until to refresh_claimed_until;
alter table receipt rename column at to issued_at;
alter table bank_sign_in rename column sealed to sealed_data;
update reseal_progress set column_name = 'bank_sign_in.sealed_data' where column_name = 'bank_sign_in.sealed';

-- A consent names its grant from the beginning. One that never came to be gets an ID that no token has.
update consent set oauth_grant_id = 'grnt_' || replace(gen_random_uuid()::text, '-', '') where oauth_grant_id is null;
alter table consent alter column oauth_grant_id set not null;
-- Who ended them was not stored: their time or the gateway did.
update consent set ended_by = 'SYSTEM' where status in ('EXPIRED', 'REJECTED') and ended_by is null;
