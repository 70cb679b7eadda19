-- One delivery for an alert and an endpoint. Of several, one that was delivered stays, else one that is still PENDING, and
-- takes over the attempts of the others, numbered after its own.
WITH ranked AS (
  SELECT "id", first_value("id") OVER (
    PARTITION BY "alert_id", "endpoint_id"
    ORDER BY CASE "state" WHEN 'DELIVERED' THEN 0 WHEN 'PENDING' THEN 1 WHEN 'FAILED' THEN 2 ELSE 3 END, "created_at", "id"
  ) AS "keeper"
  FROM "delivery"
), moved AS (
  SELECT attempt."id", ranked."keeper",
    (SELECT coalesce(max(own."number"), 0) FROM "attempt" own WHERE own."delivery_id" = ranked."keeper")
      + row_number() OVER (PARTITION BY ranked."keeper" ORDER BY attempt."at", attempt."id") AS "number"
  FROM "attempt" attempt JOIN ranked ON ranked."id" = attempt."delivery_id"
  WHERE ranked."id" <> ranked."keeper"
)
UPDATE "attempt" SET "delivery_id" = moved."keeper", "number" = moved."number"
FROM moved WHERE "attempt"."id" = moved."id";

DELETE FROM "delivery" WHERE "id" IN (
  SELECT "id" FROM (
    SELECT "id", row_number() OVER (
      PARTITION BY "alert_id", "endpoint_id"
      ORDER BY CASE "state" WHEN 'DELIVERED' THEN 0 WHEN 'PENDING' THEN 1 WHEN 'FAILED' THEN 2 ELSE 3 END, "created_at", "id"
    ) AS "place"
    FROM "delivery"
  ) AS ranked WHERE "place" > 1
);

-- DropIndex
DROP INDEX "delivery_alert_id_endpoint_id_consent_id_key";

-- CreateIndex
CREATE UNIQUE INDEX "delivery_alert_id_endpoint_id_key" ON "delivery"("alert_id", "endpoint_id");

-- Claims that had no outcome are not attempts.
ALTER TABLE "delivery" ADD COLUMN     "schedule_started_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP;
UPDATE "delivery" SET "schedule_started_at" = "created_at",
  "attempt_count" = (SELECT count(*) FROM "attempt" WHERE "attempt"."delivery_id" = "delivery"."id");

-- What is due at each endpoint, found without passing what has ended.
DROP INDEX "delivery_state_next_attempt_at_idx";
CREATE INDEX "delivery_endpoint_id_next_attempt_at_idx" ON "delivery"("endpoint_id", "next_attempt_at") WHERE "state" = 'PENDING';

-- Whom a message waits for.
ALTER TABLE "outbox_message" ADD COLUMN     "group_id" TEXT;
