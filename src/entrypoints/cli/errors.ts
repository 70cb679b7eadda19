/** The command failed: it prints the message and exits with 1. */
export class CommandError extends Error {}

/** The arguments are invalid: the command prints the message and exits with 2. */
export class UsageError extends Error {}
