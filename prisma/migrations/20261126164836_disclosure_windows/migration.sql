-- AlterTable
ALTER TABLE "account" ADD COLUMN     "number_digest" TEXT;

-- CreateTable
CREATE TABLE "disclosure" (
    "account_key" TEXT NOT NULL,
    "amounts_at" TIMESTAMPTZ(3)[] DEFAULT ARRAY[]::TIMESTAMPTZ(3)[],
    "amount_type" TEXT,
    "questions_at" TIMESTAMPTZ(3)[] DEFAULT ARRAY[]::TIMESTAMPTZ(3)[],
    "changed_at" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "disclosure_pkey" PRIMARY KEY ("account_key")
);

-- CreateIndex
CREATE INDEX "disclosure_changed_at_idx" ON "disclosure"("changed_at");

-- What was disclosed yesterday and today counts on, as if it had been just now: the change itself renews no limit.
INSERT INTO "disclosure" ("account_key", "amounts_at", "amount_type", "questions_at", "changed_at")
SELECT "bank_account",
    array_fill(now()::timestamptz(3), ARRAY[least(sum("amount_count"), 4)::int]),
    (array_agg("amount_type" ORDER BY "day" DESC) FILTER (WHERE "amount_type" IS NOT NULL))[1],
    array_fill(now()::timestamptz(3), ARRAY[least(sum("question_count"), 6)::int]),
    now()
FROM "disclosure_day" WHERE "day" >= (now() AT TIME ZONE 'UTC')::date - 1
GROUP BY "bank_account";

-- DropTable
DROP TABLE "disclosure_day";
