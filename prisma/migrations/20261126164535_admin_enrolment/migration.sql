-- CreateTable
CREATE TABLE "admin_enrolment" (
    "name" TEXT NOT NULL,
    "salt" TEXT NOT NULL,
    "secret_digest" TEXT NOT NULL,
    "reason" TEXT NOT NULL,
    "opened_at" TIMESTAMPTZ(3) NOT NULL,
    "expires_at" TIMESTAMPTZ(3) NOT NULL,
    "used_at" TIMESTAMPTZ(3),

    CONSTRAINT "admin_enrolment_pkey" PRIMARY KEY ("name")
);


