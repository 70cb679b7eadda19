-- AlterTable
ALTER TABLE "client" ADD COLUMN     "proven_kids" TEXT[] DEFAULT ARRAY[]::TEXT[];



-- Keys that are registered already count as before.
UPDATE "client" SET "proven_kids" = ARRAY(SELECT "key"->>'kid' FROM jsonb_array_elements("keys"->'keys') AS "key" WHERE "key"->>'kid' IS NOT NULL);
