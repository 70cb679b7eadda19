import type { HttpRequest } from '../../kernel/http.ts'
import type { PresentCustomer } from '../../kernel/request-context.ts'

/** The customer is present, because their browser requests the page. */
export const presentCustomerOf = ({ remoteAddress, headers }: HttpRequest): PresentCustomer => ({
  ip: remoteAddress,
  userAgent: /^[\x20-\x7e]{1,256}$/.test(headers['user-agent'] ?? '') ? headers['user-agent']! : null,
})
