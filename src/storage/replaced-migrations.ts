/** A committed migration text that may have been applied before it was replaced. */
export interface ReplacedMigration {
  readonly name: string
  /** SHA-256 of the replaced text, in hex. */
  readonly checksum: string
  /** The name of the migration that replaces it; the same name if only the text changed. */
  readonly replacedBy: string
  /** Upgrades a database with the old text to the result of the new text, and keeps its data. */
  readonly upgradeSql: string
}

// Keeps the order in which accounts were listed before: by time of creation.
const ACCOUNT_SEQUENCE = `
      alter table "account" add column "sequence" serial not null;
      update "account" set "sequence" = "ordered"."place" from (
        select "id", row_number() over (order by "created_at", "id") as "place" from "account"
      ) as "ordered" where "account"."id" = "ordered"."id";`

/**
 * All replaced migrations, from before prisma/migrations.lock protected the texts. Do not add entries: write a new migration
 * instead.
 */
export const REPLACED_MIGRATIONS: readonly ReplacedMigration[] = [
  {
    name: '20261122000000_first',
    checksum: '594ccd30732bffe105a7050cdce3a13ee6444894152e853910e9211cf3ce6bfa',
    replacedBy: '20261122000000_first',
    // A bank was created together with its first connector, and only the same client could register another.
    upgradeSql: `${ACCOUNT_SEQUENCE}
      alter table "bank" add column "client_id" text;
      update "bank" set "client_id" = (
        select "connector"."client_id" from "connector" where "connector"."bank_id" = "bank"."id"
        order by "connector"."created_at", "connector"."id" limit 1);
      alter table "bank" alter column "client_id" set not null,
        add constraint "bank_client_id_fkey" foreign key ("client_id") references "client"("id")
        on delete restrict on update cascade`,
  },
  {
    name: '20261122000000_first',
    checksum: '796c3d093258599e58fad3f9489d958e233934566afea14fa364616dddc33473',
    replacedBy: '20261122000000_first',
    upgradeSql: ACCOUNT_SEQUENCE,
  },
  {
    name: '20261122141325_graph',
    checksum: '5536be3719817b8165e71d117101cadbac7d951724508861941f8378ea6c9893',
    replacedBy: '20261122141325_graph',
    // Snapshots are fetched again, as in the new text. Disclosures of one account to several customers are summed.
    upgradeSql: `
      drop table "snapshot";
      create table "snapshot" (
        "bank_account" text not null,
        "sealed" text not null,
        "fetched_at" timestamptz(3) not null,
        constraint "snapshot_pkey" primary key ("bank_account"));
      alter table "disclosure_day" drop constraint "disclosure_day_account_id_fkey",
        drop constraint "disclosure_day_pkey";
      alter table "disclosure_day" rename column "account_id" to "bank_account";
      with "old" as (delete from "disclosure_day" returning *)
      insert into "disclosure_day" ("bank_account", "day", "amount_count", "amount_type", "question_count")
      select "account"."bank_id" || '/' || "account"."ref_digest", "day", sum("amount_count"),
        (array_agg("amount_type" order by "amount_count" desc, "account"."id") filter (where "amount_type" is not null))[1],
        sum("question_count")
      from "old" join "account" on "account"."id" = "old"."bank_account" group by 1, 2;
      alter table "disclosure_day" add constraint "disclosure_day_pkey" primary key ("bank_account", "day")`,
  },
  {
    name: '20261122173726_bank_side',
    checksum: '8b23aed2866307582fa6e21b3a872970f4ece8d2efd25454bf03a7d0f1807921',
    replacedBy: '20261122180011_bank_side',
    upgradeSql: `
      alter table "certification" add column "claimed_until" timestamptz(3);
      alter table "certification" rename column "report" to "statement";
      create index "ledger_entry_subject_id_idx" on "ledger_entry" ("subject_id");
      update "certification" set "finished_at" = "at"`,
  },
]
