import { GatewayError } from '../../kernel/errors.ts'
import { jsonResponse, route, type HttpRequest, type Route } from '../../kernel/http.ts'
import type { Caller } from '../../kernel/request-context.ts'
import type { Accounts } from '../../modules/accounts/index.ts'

/** Dependencies of the sandbox controls. */
export interface SandboxControlDependencies {
  readonly authenticate: (request: HttpRequest) => Promise<Caller>
  readonly accounts: Accounts
}

/**
 * Routes of the sandbox only: `POST /sandbox/reset` by an admin resets the disclosure limits of every account. Never served in
 * production, where these limits prevent purchases from being inferred.
 */
export const sandboxControlRoutes = ({ authenticate, accounts }: SandboxControlDependencies): Route[] => [
  route('POST', '/sandbox/reset', async (request) => {
    const caller = await authenticate(request)
    if (caller.kind === 'ANONYMOUS') throw new GatewayError('UNAUTHENTICATED')
    if (caller.kind !== 'CLIENT' || !caller.scopes.has('clients:manage')) throw new GatewayError('FORBIDDEN')
    return jsonResponse(200, { accounts: await accounts.resetDisclosures() })
  }),
]
