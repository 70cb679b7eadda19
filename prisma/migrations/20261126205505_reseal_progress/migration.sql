-- CreateTable
CREATE TABLE "reseal_progress" (
    "column_name" TEXT NOT NULL,
    "key_name" TEXT NOT NULL,
    "position" TEXT NOT NULL DEFAULT '',
    "found" INTEGER NOT NULL DEFAULT 0,
    "clean_at" TIMESTAMPTZ(3),

    CONSTRAINT "reseal_progress_pkey" PRIMARY KEY ("column_name")
);


