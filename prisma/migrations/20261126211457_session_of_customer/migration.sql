-- AlterTable
ALTER TABLE "oauth_artifact" ADD COLUMN     "customer_id" TEXT;

-- CreateIndex
CREATE INDEX "oauth_artifact_customer_id_idx" ON "oauth_artifact"("customer_id");


