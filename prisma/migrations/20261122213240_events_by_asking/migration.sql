-- AlterTable
ALTER TABLE "connector" ADD COLUMN     "events_asked_at" TIMESTAMPTZ(3);


