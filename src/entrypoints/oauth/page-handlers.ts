import { GatewayError, toGatewayError } from '../../kernel/errors.ts'
import type { HttpRequest, HttpResponse, Route } from '../../kernel/http.ts'
import { problemPage } from './interaction-pages.ts'

/** Handles requests of a browser: anything thrown becomes a page. */
export const withErrorPage =
  (handle: (request: HttpRequest) => HttpResponse | Promise<HttpResponse>): Route['handle'] =>
  async (request) => {
    try {
      return await handle(request)
    } catch (thrown) {
      return problemPage(toGatewayError(thrown))
    }
  }

/** Throws `FORBIDDEN` if a page of another origin posted the form. */
export function assertSameOrigin({ headers: { origin } }: HttpRequest, issuer: string): void {
  if (origin !== undefined && origin !== issuer)
    throw new GatewayError('FORBIDDEN', { internalMessage: 'form posted from another origin' })
}
