-- AlterTable
ALTER TABLE "bank" ADD COLUMN     "name_key" TEXT;

-- Of banks whose names customers would not tell apart, the one that was there first holds the name.
UPDATE "bank" SET "name_key" = "first"."key" FROM (
  SELECT DISTINCT ON ("key") "id", "key" FROM (
    SELECT "id", "created_at", lower(regexp_replace(normalize("name", NFKC), '[^[:alnum:]]+', '', 'g')) AS "key" FROM "bank"
  ) AS "named" ORDER BY "key", "created_at", "id"
) AS "first" WHERE "bank"."id" = "first"."id";

-- CreateIndex
CREATE UNIQUE INDEX "bank_name_key_key" ON "bank"("name_key");
