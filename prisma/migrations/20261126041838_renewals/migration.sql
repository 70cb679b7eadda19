-- AlterTable
ALTER TABLE "connection" ADD COLUMN     "renewing_until" TIMESTAMPTZ(3);


