-- AlterTable
ALTER TABLE "snapshot" ADD COLUMN     "claimed_until" TIMESTAMPTZ(3),
ADD COLUMN     "told_type" TEXT,
ALTER COLUMN "sealed" DROP NOT NULL,
ALTER COLUMN "fetched_at" DROP NOT NULL;

-- DropTable
DROP TABLE "snapshot_claim";


