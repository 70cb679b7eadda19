import { GatewayError } from '../../kernel/errors.ts'
import { jsonResponse, route, type HttpRequest, type Route } from '../../kernel/http.ts'
import type { Caller } from '../../kernel/request-context.ts'
import type { Accounts } from '../../modules/accounts/index.ts'

/** What the control of a sandbox depends on. */
export interface SandboxControlDependencies {
  readonly authenticate: (request: HttpRequest) => Promise<Caller>
  readonly accounts: Accounts
}

/**
 * What only a sandbox has: `POST /sandbox/reset` by an admin gives every account its whole disclosure limits again. Never
 * served in production, where the limits are what keeps purchases from being inferred.
 */
export const sandboxControlRoutes = ({ authenticate, accounts }: SandboxControlDependencies): Route[] => [
  route('POST', '/sandbox/reset', async (request) => {
    const caller = await authenticate(request)
    if (caller.kind === 'ANONYMOUS') throw new GatewayError('UNAUTHENTICATED')
    if (caller.kind !== 'CLIENT' || !caller.scopes.has('clients:manage')) throw new GatewayError('FORBIDDEN')
    return jsonResponse(200, { accounts: await accounts.resetDisclosures() })
  }),
]
