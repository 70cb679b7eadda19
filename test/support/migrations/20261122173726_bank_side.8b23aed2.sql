-- AlterTable
ALTER TABLE "certification" ADD COLUMN     "finished_at" TIMESTAMPTZ(3),
ADD COLUMN     "kind" TEXT NOT NULL DEFAULT 'MANUAL',
ADD COLUMN     "report" TEXT;

-- AlterTable
ALTER TABLE "connector" ADD COLUMN     "bank_client_id" TEXT,
ADD COLUMN     "certificate" TEXT,
ADD COLUMN     "new_consents" BOOLEAN NOT NULL DEFAULT true;

-- AlterTable
ALTER TABLE "maintenance_window" ADD COLUMN     "kind" TEXT NOT NULL DEFAULT 'MAINTENANCE';

-- CreateTable
CREATE TABLE "snapshot_claim" (
    "bank_account" TEXT NOT NULL,
    "until" TIMESTAMPTZ(3) NOT NULL,
    "kept_at" TIMESTAMPTZ(3),

    CONSTRAINT "snapshot_claim_pkey" PRIMARY KEY ("bank_account")
);

-- CreateTable
CREATE TABLE "bank_problem" (
    "connector_id" TEXT NOT NULL,
    "problem" TEXT NOT NULL,
    "day" DATE NOT NULL,
    "count" INTEGER NOT NULL,

    CONSTRAINT "bank_problem_pkey" PRIMARY KEY ("connector_id","problem","day")
);

-- CreateTable
CREATE TABLE "connector_notice" (
    "id" TEXT NOT NULL,
    "connector_id" TEXT NOT NULL,
    "at" TIMESTAMPTZ(3) NOT NULL,
    "kind" TEXT NOT NULL,
    "operation" TEXT,

    CONSTRAINT "connector_notice_pkey" PRIMARY KEY ("id")
);

-- CreateIndex
CREATE INDEX "snapshot_claim_until_idx" ON "snapshot_claim"("until");

-- CreateIndex
CREATE INDEX "bank_problem_day_idx" ON "bank_problem"("day");

-- CreateIndex
CREATE INDEX "connector_notice_connector_id_at_idx" ON "connector_notice"("connector_id", "at");

-- AddForeignKey
ALTER TABLE "bank_problem" ADD CONSTRAINT "bank_problem_connector_id_fkey" FOREIGN KEY ("connector_id") REFERENCES "connector"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "connector_notice" ADD CONSTRAINT "connector_notice_connector_id_fkey" FOREIGN KEY ("connector_id") REFERENCES "connector"("id") ON DELETE RESTRICT ON UPDATE CASCADE;


