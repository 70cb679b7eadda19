-- AlterTable
ALTER TABLE "client" ADD COLUMN     "customer_quota_per_minute" INTEGER NOT NULL DEFAULT 6000,
ADD COLUMN     "operations" TEXT NOT NULL DEFAULT 'ANY',
ADD COLUMN     "quota_per_minute" INTEGER NOT NULL DEFAULT 600000;

-- AlterTable
-- An entry may be about several accounts. No row is updated, so the ledger's own trigger has nothing to refuse.
ALTER TABLE "ledger_entry" ALTER COLUMN "account_id" TYPE TEXT[] USING array_remove(ARRAY["account_id"], NULL);
ALTER TABLE "ledger_entry" RENAME COLUMN "account_id" TO "account_ids";

-- CreateTable
CREATE TABLE "disclosure_day" (
    "account_id" TEXT NOT NULL,
    "day" DATE NOT NULL,
    "amount_count" INTEGER NOT NULL DEFAULT 0,
    "amount_type" TEXT,
    "question_count" INTEGER NOT NULL DEFAULT 0,

    CONSTRAINT "disclosure_day_pkey" PRIMARY KEY ("account_id","day")
);

-- CreateTable
CREATE TABLE "maintenance_window" (
    "id" TEXT NOT NULL,
    "bank_id" TEXT NOT NULL,
    "from" TIMESTAMPTZ(3) NOT NULL,
    "to" TIMESTAMPTZ(3) NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "maintenance_window_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "certification" (
    "id" TEXT NOT NULL,
    "connector_id" TEXT NOT NULL,
    "at" TIMESTAMPTZ(3) NOT NULL,
    "passed" BOOLEAN NOT NULL,
    "checks" JSONB NOT NULL,

    CONSTRAINT "certification_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "bank_calls" (
    "connector_id" TEXT NOT NULL,
    "operation" TEXT NOT NULL,
    "minute" TIMESTAMPTZ(3) NOT NULL,
    "calls" INTEGER NOT NULL,
    "failures" INTEGER NOT NULL,
    "total_ms" INTEGER NOT NULL,

    CONSTRAINT "bank_calls_pkey" PRIMARY KEY ("connector_id","operation","minute")
);

-- CreateTable
CREATE TABLE "registered_operation" (
    "client_id" TEXT NOT NULL,
    "hash" TEXT NOT NULL,
    "document" TEXT NOT NULL,
    "registered_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "registered_operation_pkey" PRIMARY KEY ("client_id","hash")
);

-- CreateTable
CREATE TABLE "quota_window" (
    "subject" TEXT NOT NULL,
    "minute" TIMESTAMPTZ(3) NOT NULL,
    "spent" INTEGER NOT NULL,

    CONSTRAINT "quota_window_pkey" PRIMARY KEY ("subject","minute")
);

-- CreateTable
CREATE TABLE "idempotent_result" (
    "client_id" TEXT NOT NULL,
    "mutation" TEXT NOT NULL,
    "key" TEXT NOT NULL,
    "input_digest" TEXT NOT NULL,
    "result_id" TEXT NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "idempotent_result_pkey" PRIMARY KEY ("client_id","mutation","key")
);

-- CreateIndex
CREATE INDEX "disclosure_day_day_idx" ON "disclosure_day"("day");

-- CreateIndex
CREATE INDEX "maintenance_window_bank_id_to_idx" ON "maintenance_window"("bank_id", "to");

-- CreateIndex
CREATE INDEX "certification_connector_id_at_idx" ON "certification"("connector_id", "at");

-- CreateIndex
CREATE INDEX "bank_calls_minute_idx" ON "bank_calls"("minute");

-- CreateIndex
CREATE INDEX "quota_window_minute_idx" ON "quota_window"("minute");

-- CreateIndex
CREATE INDEX "idempotent_result_created_at_idx" ON "idempotent_result"("created_at");

-- CreateIndex
CREATE INDEX "consent_client_id_created_at_idx" ON "consent"("client_id", "created_at");

-- AddForeignKey
ALTER TABLE "disclosure_day" ADD CONSTRAINT "disclosure_day_account_id_fkey" FOREIGN KEY ("account_id") REFERENCES "account"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "maintenance_window" ADD CONSTRAINT "maintenance_window_bank_id_fkey" FOREIGN KEY ("bank_id") REFERENCES "bank"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "certification" ADD CONSTRAINT "certification_connector_id_fkey" FOREIGN KEY ("connector_id") REFERENCES "connector"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "bank_calls" ADD CONSTRAINT "bank_calls_connector_id_fkey" FOREIGN KEY ("connector_id") REFERENCES "connector"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "registered_operation" ADD CONSTRAINT "registered_operation_client_id_fkey" FOREIGN KEY ("client_id") REFERENCES "client"("id") ON DELETE RESTRICT ON UPDATE CASCADE;


