-- CreateIndex
CREATE INDEX "bank_sign_in_consent_id_idx" ON "bank_sign_in"("consent_id");


