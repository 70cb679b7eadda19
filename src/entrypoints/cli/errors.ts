/** What was asked for was refused; the command ends with 1 and this one line. */
export class CommandError extends Error {}

/** The command was not understood; it ends with 2. */
export class UsageError extends Error {}
