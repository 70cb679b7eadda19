import { EmbeddedJWK, jwtVerify } from 'jose'
import { z } from 'zod'
import { toGatewayError, GatewayError } from '../../kernel/errors.ts'
import { faultAt, parseWithSchema } from '../../kernel/input-faults.ts'
import { jsonResponse, route, type HttpResponse, type HttpRequest, type Route } from '../../kernel/http.ts'
import { digest } from '../../kernel/ids.ts'
import { SIGNING_ALGORITHMS } from '../../kernel/public-keys.ts'
import { ANONYMOUS } from '../../kernel/request-context.ts'
import type { World } from '../../kernel/world.ts'
import type { AdminEnrollment, Quotas } from '../../modules/clients/index.ts'

/** Dependencies of the enrollment of an admin. */
export interface AdminDependencies {
  readonly enrollment: AdminEnrollment
  readonly quotas: Quotas
  readonly world: World
  readonly issuer: string
}

const PATH = '/admin/bootstrap'
const ALL_METHODS = 'GET POST PUT PATCH DELETE OPTIONS'
const MAX_BODY_BYTES = 8_192
/** An address without a token has 3,000 points per minute, so it has ten attempts. */
const ATTEMPT_COST = 300
const PROOF_TYPE = 'admin-enrollment+jwt'
const INVALID_PROOF = faultAt(['proof'], `must be a JWT of type ${PROOF_TYPE} for this gateway and this secret`)

const enrollmentRequest = z.object({
  secret: z.string().min(1).max(256),
  organization: z.string().max(256),
  name: z.string().max(256),
  /** A JWT with the new public key in its header, signed with the private key, which proves its possession. */
  proof: z.string().max(4_096),
})

/** The route that registers the first admin. Responds with `NOT_FOUND` while no enrollment is open. */
export const adminRoutes = (dependencies: AdminDependencies): Route[] => [
  route(ALL_METHODS, PATH, (request) => enroll(request, dependencies)),
]

async function enroll(
  request: HttpRequest,
  { enrollment, quotas, world, issuer }: AdminDependencies,
): Promise<HttpResponse> {
  if (request.method !== 'POST' || !(await enrollment.isOpen())) throw new GatewayError('NOT_FOUND')
  await quotas.charge({ ...ANONYMOUS, address: request.remoteAddress }, ATTEMPT_COST)
  try {
    const { secret, organization, name, proof } = parseRequest(await request.body(MAX_BODY_BYTES))
    await enrollment.assertSecretValid(secret)
    const { id, organizationId, scopes } = await enrollment.enroll(secret, {
      organization,
      name,
      jwks: await verifyProof(proof, secret, issuer),
    })
    return jsonResponse(201, { clientId: id, organizationId, scopes })
  } catch (thrown) {
    const { code, path, definition, faults } = toGatewayError(thrown)
    world.log.warn('admin.enrollment_rejected', { requestId: request.requestId, code })
    if (code !== 'INVALID_INPUT') throw thrown
    const message = faults.map((fault) => fault.message).join(' ')
    return jsonResponse(definition.httpStatus, { error: { code, path, message, requestId: request.requestId } })
  }
}

function parseRequest(text: string): z.infer<typeof enrollmentRequest> {
  let body: unknown
  try {
    body = JSON.parse(text)
  } catch {
    throw new GatewayError('MALFORMED_REQUEST')
  }
  return parseWithSchema(enrollmentRequest, body, [])
}

/** Verifies the proof and returns its key as a JWK set. The proof is bound to the one-time secret, so it needs no expiry. */
async function verifyProof(proof: string, secret: string, issuer: string): Promise<unknown> {
  const verified = await jwtVerify(proof, EmbeddedJWK, {
    typ: PROOF_TYPE,
    algorithms: [...SIGNING_ALGORITHMS],
    audience: issuer,
    subject: digest(secret),
  }).catch((cause: unknown) => {
    throw new GatewayError('INVALID_INPUT', { faults: [INVALID_PROOF], cause })
  })
  return { keys: [verified.protectedHeader.jwk] }
}
