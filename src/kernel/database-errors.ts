/** SQLSTATEs that mean that PostgreSQL is unavailable or too slow (PostgreSQL, appendix A). */
const UNAVAILABLE_SQLSTATES = [
  /^08/, // connection exceptions
  /^53/, // insufficient resources: disk full, out of memory, too many connections
  /^57P0/, // shutting down, crashed, starting up, database dropped
  /^57014$/, // statement timeout
  /^55P03$/, // lock timeout
  /^25P03$/, // idle-in-transaction timeout
  /^25006$/, // read-only: a replica, or a primary that was demoted
  /^58/, // system errors such as a failed write
]
/** Prisma: unreachable, connect or response timeout, closed, no free connection, transaction not started or expired. */
const UNAVAILABLE_PRISMA_CODES = new Set(['P1001', 'P1002', 'P1008', 'P1017', 'P2024', 'P2028', 'P2037'])
/** Prisma's adapter: a connection failed, broke, or was refused because there are too many. */
const UNAVAILABLE_ADAPTER_KINDS = new Set([
  'DatabaseNotReachable',
  'ConnectionClosed',
  'SocketTimeout',
  'TooManyConnections',
])
/** Errors that the driver throws without a code. */
const UNAVAILABLE_DRIVER_MESSAGES = new Set([
  'timeout exceeded when trying to connect',
  'timeout expired',
  'Query read timeout',
  'Connection terminated',
  'Connection terminated unexpectedly',
  'Connection terminated due to connection timeout',
  'Client has encountered a connection error and is not queryable',
  'Client was closed and is not queryable',
  'Cannot use a pool after calling end on the pool',
])
const UNAVAILABLE_SOCKET_CODES =
  /^(ECONN[A-Z]+|EPIPE|ETIMEDOUT|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|EHOSTDOWN|ENETUNREACH|ENETDOWN)$/

/** Whether the error itself identifies the database as down, out of resources or too slow. */
export function isDatabaseUnavailable(thrown: unknown): boolean {
  if (!(thrown instanceof Error)) return false
  if (UNAVAILABLE_DRIVER_MESSAGES.has(thrown.message)) return true
  const { code, severity, meta } = thrown as Error & { code?: unknown; severity?: unknown; meta?: unknown }
  if (typeof code !== 'string') return false
  // Only PostgreSQL's errors have a severity; other errors have five-character codes too.
  if (typeof severity === 'string') return isUnavailableSqlState(code)
  if (!thrown.name.startsWith('PrismaClient')) return false
  if (UNAVAILABLE_PRISMA_CODES.has(code)) return true
  const cause = (meta as { driverAdapterError?: { cause?: Record<string, unknown> } } | undefined)?.driverAdapterError
    ?.cause
  return (
    UNAVAILABLE_ADAPTER_KINDS.has(String(cause?.['kind'])) || isUnavailableSqlState(String(cause?.['originalCode']))
  )
}

/** Like `isDatabaseUnavailable`, for errors of a database connection only: a socket error does not name its peer. */
export const isConnectionError = (thrown: unknown): boolean =>
  isDatabaseUnavailable(thrown) ||
  (thrown instanceof AggregateError && thrown.errors.length > 0 && thrown.errors.every(isConnectionError)) ||
  (thrown instanceof Error && UNAVAILABLE_SOCKET_CODES.test(String((thrown as { code?: unknown }).code)))

/** Whether PostgreSQL refused a write because its disk is full (53100). It can still read. */
export const isDiskFull = (thrown: unknown): boolean =>
  thrown instanceof Error && ((thrown as { code?: unknown }).code === '53100' || isDiskFull(thrown.cause))

/** Whether Prisma reports a violated unique constraint (P2002). */
export const isUniqueViolation = (thrown: unknown): boolean =>
  thrown instanceof Error && thrown.name.startsWith('PrismaClient') && (thrown as { code?: unknown }).code === 'P2002'

const isUnavailableSqlState = (sqlState: string): boolean =>
  UNAVAILABLE_SQLSTATES.some((pattern) => pattern.test(sqlState))
