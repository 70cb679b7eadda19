-- AlterTable
ALTER TABLE "attempt" ADD COLUMN     "failure_cause" TEXT;

-- CreateTable
CREATE TABLE "bank_failure" (
    "connector_id" TEXT NOT NULL,
    "operation" TEXT NOT NULL,
    "cause" TEXT NOT NULL,
    "minute" TIMESTAMPTZ(3) NOT NULL,
    "count" INTEGER NOT NULL,

    CONSTRAINT "bank_failure_pkey" PRIMARY KEY ("connector_id","operation","cause","minute")
);

-- CreateIndex
CREATE INDEX "bank_failure_minute_idx" ON "bank_failure"("minute");

-- AddForeignKey
ALTER TABLE "bank_failure" ADD CONSTRAINT "bank_failure_connector_id_fkey" FOREIGN KEY ("connector_id") REFERENCES "connector"("id") ON DELETE RESTRICT ON UPDATE CASCADE;


