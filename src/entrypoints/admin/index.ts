import { EmbeddedJWK, jwtVerify } from 'jose'
import { z } from 'zod'
import { asGatewayError, GatewayError } from '../../kernel/errors.ts'
import { faultAt, readBySchema } from '../../kernel/faults.ts'
import { jsonReply, route, type HttpReply, type HttpRequest, type Route } from '../../kernel/http.ts'
import { digest } from '../../kernel/ids.ts'
import { SIGNING_ALGORITHMS } from '../../kernel/public-keys.ts'
import { ANONYMOUS } from '../../kernel/request.ts'
import type { World } from '../../kernel/world.ts'
import type { AdminEnrolment, Quotas } from '../../modules/clients/index.ts'

/** What the enrolment of an admin depends on. */
export interface AdminDependencies {
  readonly enrolment: AdminEnrolment
  readonly quotas: Quotas
  readonly world: World
  readonly issuer: string
}

const PATH = '/admin/bootstrap'
const METHODS = 'GET POST PUT PATCH DELETE OPTIONS'
const MAX_BYTES = 8_192
/** Of the 3,000 points that an address without a token has per minute: ten attempts. */
const ATTEMPT_POINTS = 300
const PROOF_TYPE = 'admin-enrolment+jwt'
const UNPROVEN = faultAt(['proof'], `must be a JWT of type ${PROOF_TYPE} for this gateway and this secret`)

const enrolmentRequest = z.object({
  secret: z.string().min(1).max(256),
  platform: z.string().max(256),
  name: z.string().max(256),
  /** A JWT with the new public key in its header, signed by the private one: nobody registers a key that they lack. */
  proof: z.string().max(4_096),
})

/** Where the first admin is made. While no enrolment is open, the answer is that of any address that does not exist. */
export const adminRoutes = (dependencies: AdminDependencies): Route[] => [
  route(METHODS, PATH, (request) => enrol(request, dependencies)),
]

async function enrol(
  request: HttpRequest,
  { enrolment, quotas, world, issuer }: AdminDependencies,
): Promise<HttpReply> {
  if (request.method !== 'POST' || !(await enrolment.isOpen())) throw new GatewayError('NOT_FOUND')
  await quotas.charge({ ...ANONYMOUS, address: request.customerIp }, ATTEMPT_POINTS)
  try {
    const { secret, platform, name, proof } = read(await request.body(MAX_BYTES))
    await enrolment.check(secret)
    const { id, platformId, scopes } = await enrolment.enrol(secret, {
      platform,
      name,
      keys: await provenKeys(proof, secret, issuer),
    })
    return jsonReply(201, { clientId: id, platformId, scopes })
  } catch (thrown) {
    const { code, path, facts, faults } = asGatewayError(thrown)
    world.log.warn('admin.enrolment_refused', { requestId: request.requestId, code })
    if (code !== 'INVALID_INPUT') throw thrown
    const message = faults.map((fault) => fault.message).join(' ')
    return jsonReply(facts.status, { error: { code, path, message, requestId: request.requestId } })
  }
}

function read(text: string): z.infer<typeof enrolmentRequest> {
  let given: unknown
  try {
    given = JSON.parse(text)
  } catch {
    throw new GatewayError('MALFORMED_REQUEST')
  }
  return readBySchema(enrolmentRequest, given, [])
}

/** The proof belongs to this gateway and this secret, so that it needs no time of its own. */
async function provenKeys(proof: string, secret: string, issuer: string): Promise<unknown> {
  const verified = await jwtVerify(proof, EmbeddedJWK, {
    typ: PROOF_TYPE,
    algorithms: [...SIGNING_ALGORITHMS],
    audience: issuer,
    subject: digest(secret),
  }).catch((cause: unknown) => {
    throw new GatewayError('INVALID_INPUT', { faults: [UNPROVEN], cause })
  })
  return { keys: [verified.protectedHeader.jwk] }
}
