-- AlterTable
ALTER TABLE "ledger_entry" ADD COLUMN     "changes" JSONB;

-- CreateIndex
CREATE INDEX "ledger_entry_client_id_sequence_idx" ON "ledger_entry"("client_id", "sequence");

-- CreateIndex
CREATE INDEX "ledger_entry_kind_sequence_idx" ON "ledger_entry"("kind", "sequence");

-- CreateIndex
CREATE INDEX "ledger_entry_at_idx" ON "ledger_entry" USING BRIN ("at");


