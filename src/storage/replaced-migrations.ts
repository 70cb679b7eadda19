/** A migration that was committed, applied and then replaced by another. */
export interface ReplacedMigration {
  readonly name: string
  /** Of the text that was applied, SHA-256 in hex. */
  readonly checksum: string
  /** The one in its place. */
  readonly by: string
  /** What the new one does beyond the old one, for a database that has the old one. */
  readonly difference: string
}

/** The only one, from before a lock file held every committed migration to its text. No other may follow. */
export const REPLACED_MIGRATIONS: readonly ReplacedMigration[] = [
  {
    name: '20261122173726_bank_side',
    checksum: '8b23aed2866307582fa6e21b3a872970f4ece8d2efd25454bf03a7d0f1807921',
    by: '20261122180011_bank_side',
    difference: `
      alter table "certification" add column "claimed_until" timestamptz(3);
      alter table "certification" rename column "report" to "statement";
      create index "ledger_entry_subject_id_idx" on "ledger_entry" ("subject_id");
      update "certification" set "finished_at" = "at"`,
  },
]
