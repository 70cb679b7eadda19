-- What work in the background looks for, found without passing the rest of its table.

-- CreateIndex
CREATE INDEX "bank_event_received_at_idx" ON "bank_event"("received_at");

-- CreateIndex
CREATE INDEX "bank_sign_in_expires_at_idx" ON "bank_sign_in"("expires_at") WHERE "sealed" = '';

-- CreateIndex
CREATE INDEX "certification_at_idx" ON "certification"("at") WHERE "finished_at" IS NULL;

-- CreateIndex
CREATE INDEX "consent_expires_at_id_idx" ON "consent"("expires_at", "id") WHERE "state" = 'ACTIVE';

-- CreateIndex
CREATE INDEX "consent_created_at_id_idx" ON "consent"("created_at", "id") WHERE "state" = 'PENDING';

-- Consents that ended before their code was redeemed keep their time, and would be passed for ever.
DROP INDEX "consent_redeem_by_idx";
CREATE INDEX "consent_redeem_by_idx" ON "consent"("redeem_by") WHERE "state" = 'ACTIVE';

-- CreateIndex
CREATE INDEX "snapshot_claimed_until_idx" ON "snapshot"("claimed_until") WHERE "sealed" IS NULL;

-- A page of a client's deliveries is one ordered walk for each endpoint and state.
CREATE INDEX "delivery_endpoint_id_state_created_at_id_idx" ON "delivery"("endpoint_id", "state", "created_at" DESC, "id" DESC);

-- Columns that refer to a customer: whoever deletes a customer has the database look there.
CREATE INDEX "connection_customer_id_idx" ON "connection"("customer_id");
CREATE INDEX "subject_customer_id_idx" ON "subject"("customer_id");
