-- CreateTable
CREATE TABLE "client_usage" (
    "client_id" TEXT NOT NULL,
    "hour" TIMESTAMPTZ(3) NOT NULL,
    "requests" INTEGER NOT NULL,
    "points" BIGINT NOT NULL,
    "errors" INTEGER NOT NULL,

    CONSTRAINT "client_usage_pkey" PRIMARY KEY ("client_id","hour")
);

-- CreateIndex
CREATE INDEX "client_usage_hour_idx" ON "client_usage"("hour");


