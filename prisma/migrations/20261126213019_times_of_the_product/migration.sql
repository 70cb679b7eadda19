-- AlterTable
ALTER TABLE "alert" ALTER COLUMN "created_at" DROP DEFAULT;

-- AlterTable
ALTER TABLE "bank_event" ALTER COLUMN "received_at" DROP DEFAULT;

-- AlterTable
ALTER TABLE "idempotent_result" ALTER COLUMN "created_at" DROP DEFAULT;


