-- AlterTable
ALTER TABLE "bank_sign_in" ADD COLUMN     "choice_digest" TEXT NOT NULL DEFAULT '';

-- AlterTable
ALTER TABLE "connection" ADD COLUMN     "customer_digest" TEXT;

-- AlterTable
ALTER TABLE "consent" ADD COLUMN     "redeem_by" TIMESTAMPTZ(3);

-- One sign-in for each visit: of several that one visit began before this rule, the newest goes on.
DELETE FROM "bank_sign_in" AS "older" USING "bank_sign_in" AS "newer"
WHERE "older"."interaction_uid" = "newer"."interaction_uid"
  AND ("older"."expires_at", "older"."state_digest") < ("newer"."expires_at", "newer"."state_digest");

-- CreateIndex
CREATE UNIQUE INDEX "bank_sign_in_interaction_uid_key" ON "bank_sign_in"("interaction_uid");

-- CreateIndex
CREATE INDEX "connection_connector_id_customer_digest_idx" ON "connection"("connector_id", "customer_digest");

-- CreateIndex
CREATE INDEX "consent_redeem_by_idx" ON "consent"("redeem_by");
