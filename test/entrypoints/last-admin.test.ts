import { generateKeyPairSync } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import {
  executeGraphql,
  createOauthClient,
  type ClientFile,
  type Token,
} from '../../src/entrypoints/cli/oauth-client.ts'
import { ADMIN_SCOPES } from '../../src/kernel/scopes.ts'
import type { UserError } from '../../src/kernel/user-errors.ts'
import { startGateway, type TestGateway } from '../support/gateway.ts'
import { startSecondGateway, type SecondGateway } from '../support/second-gateway.ts'

let gateway: TestGateway
let second: SecondGateway
let admin: Token
beforeAll(async () => {
  gateway = await startGateway()
  second = await startSecondGateway(gateway)
})
afterAll(async () => {
  await second.close()
  await gateway.close()
})
beforeEach(async () => {
  // As an installation begins: one admin who can use everything.
  await gateway.database.query("update client set status = 'SUSPENDED' where 'clients:manage' = any(scopes)")
  await gateway.database.query(
    "update client set status = 'ACTIVE', operation_policy = 'ANY', points_per_minute = 600000, scopes = $1, jwks = $2, authenticated_kids = $3 where id = 'admin'",
    [[...ADMIN_SCOPES], { keys: [publicKeyOf('admin')] }, [publicKeyOf('admin').kid]],
  )
  for (const { id } of await gateway.app.services.clients.allClients())
    await gateway.app.services.signals.publishNow({ kind: 'CLIENT', id })
  admin = await gateway.own('admin', 'clients:manage organizations:manage')
})

const publicKeyOf = (id: string) => {
  const { d: _private, ...key } = gateway.client(id).key
  return key
}

interface Payload {
  readonly client: { readonly id: string; readonly status: string } | null
  readonly userErrors: readonly UserError[]
}

async function change(issuer: string, token: Token, mutation: string, type: string, input: object): Promise<Payload> {
  const query = `mutation ($input: ${type}!) { ${mutation}(input: $input) { client { id status } userErrors { code path message } } }`
  const { data, errors } = await executeGraphql(issuer, token, query, { input })
  expect(errors).toBeUndefined()
  return data![mutation] as Payload
}
const suspend = (id: string, token = admin, issuer = gateway.issuer) =>
  change(issuer, token, 'suspendClient', 'SuspendClientInput', { clientId: id })
const update = (input: object, token = admin) =>
  change(gateway.issuer, token, 'updateClient', 'UpdateClientInput', input)

const stateOf = async (id: string): Promise<string> =>
  (await gateway.database.query<{ status: string }>('select status from client where id = $1', [id]))[0]!.status

/** Another client with all admin scopes, and its private key, by which it has authenticated once. */
async function newAdmin(name: string): Promise<ClientFile> {
  const file = await registeredAdmin(name)
  await createOauthClient(gateway.issuer, file).clientCredentials('clients:manage')
  return file
}

/** Another client with all admin scopes, whose key nobody has used. */
async function registeredAdmin(name: string): Promise<ClientFile> {
  const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const kid = `${name}-1`
  const organization = await gateway.app.services.clients.organizations.findByName('Guichet')
  const client = await gateway.app.services.clients.register('admin', {
    organizationId: organization!.id,
    name,
    jwks: { keys: [{ ...pair.publicKey.export({ format: 'jwk' }), kid }] },
    redirectUris: [],
    scopes: ADMIN_SCOPES,
    tokenBinding: 'DPOP',
  })
  return { clientId: client.id, key: { ...(pair.privateKey.export({ format: 'jwk' }) as ClientFile['key']), kid } }
}

describe('the last client that can administer clients', () => {
  test('the last admin cannot suspend itself, and the error states why and what to do first', async () => {
    const refused = await suspend('admin')
    expect(refused).toMatchObject({ client: null, userErrors: [{ code: 'LAST_ADMIN', path: ['clientId'] }] })
    expect(refused.userErrors[0]!.message).toMatch(/clients:manage.*first/)
    expect(await stateOf('admin')).toBe('ACTIVE')
    expect(await suspend('chatterbox-bearer')).toMatchObject({ client: { status: 'SUSPENDED' }, userErrors: [] })
  })

  test('the last admin cannot remove its own scopes that it needs to undo a change', async () => {
    const [organizations, register] = [['organizations:manage'], 'REGISTERED_ONLY']
    expect(await update({ clientId: 'admin', scopes: organizations })).toMatchObject({
      client: null,
      userErrors: [{ code: 'LAST_ADMIN', path: ['scopes'] }],
    })
    expect(await update({ clientId: 'admin', operationPolicy: register })).toMatchObject({
      userErrors: [{ code: 'LAST_ADMIN', path: ['operationPolicy'] }],
    })
    for (const pointsPerMinute of [1, 999])
      expect(await update({ clientId: 'admin', pointsPerMinute })).toMatchObject({
        userErrors: [{ code: 'LAST_ADMIN', path: ['pointsPerMinute'] }],
      })
    expect(await update({ clientId: 'admin', pointsPerMinute: 0 })).toMatchObject({
      userErrors: [{ code: 'INVALID_INPUT' }],
    })
    // Every scope that it can give back to itself may go.
    expect(await update({ clientId: 'admin', scopes: ['clients:manage'] })).toMatchObject({ userErrors: [] })
    expect(await update({ clientId: 'admin', scopes: [...ADMIN_SCOPES] })).toMatchObject({ userErrors: [] })
    expect(await update({ clientId: 'admin', pointsPerMinute: 1_000 })).toMatchObject({ userErrors: [] })
    const rows = await gateway.database.query(
      "select operation_policy, points_per_minute from client where id = 'admin'",
    )
    expect(rows).toEqual([{ operation_policy: 'ANY', points_per_minute: 1_000 }])
  })

  test('the minimum quota of a last admin is enough for every change and list of clients', async () => {
    expect(await update({ clientId: 'admin', pointsPerMinute: 1_000 })).toMatchObject({ userErrors: [] })
    // What the larger quota has reserved in this minute does not count for the smaller one.
    await gateway.database.query("delete from quota_window where subject = 'client:admin'")
    const list =
      '{ clients { nodes { id name status scopes redirectUris tokenBinding organization { id name } } } organizations { nodes { id } } }'
    expect((await executeGraphql(gateway.issuer, admin, list)).errors).toBeUndefined()
    expect(await update({ clientId: 'admin', pointsPerMinute: 600_000 })).toMatchObject({ userErrors: [] })
  })

  test('the last admin can replace its keys only by a set that contains one of them', async () => {
    const { d: _private, ...known } = gateway.client('admin').key
    const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const fresh = { ...pair.publicKey.export({ format: 'jwk' }), kid: 'admin-2' }
    expect(await update({ clientId: 'admin', jwks: { keys: [fresh] } })).toMatchObject({
      client: null,
      userErrors: [{ code: 'LAST_ADMIN', path: ['jwks'] }],
    })
    expect(await update({ clientId: 'admin', jwks: { keys: [] } })).toMatchObject({
      userErrors: [{ code: 'INVALID_INPUT' }],
    })
    expect(await update({ clientId: 'admin', jwks: { keys: [fresh, known] } })).toMatchObject({ userErrors: [] })
    expect(await update({ clientId: 'admin', jwks: { keys: [known] } })).toMatchObject({ userErrors: [] })
    expect((await gateway.own('admin', 'clients:manage')).accessToken).toBeTruthy()
  })

  test('the last admin cannot replace its only used key by an unused one, in one step or in two', async () => {
    const { d: _private, ...known } = gateway.client('admin').key
    const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const fresh = { ...pair.publicKey.export({ format: 'jwk' }), kid: 'admin-2' }
    expect(await update({ clientId: 'admin', jwks: { keys: [known, fresh] } })).toMatchObject({ userErrors: [] })
    const refused = { client: null, userErrors: [{ code: 'LAST_ADMIN', path: ['jwks'] }] }
    expect(await update({ clientId: 'admin', jwks: { keys: [fresh] } })).toMatchObject(refused)
    // Neither under the name of the key that was used, nor with an assertion that only names the new one.
    expect(await update({ clientId: 'admin', jwks: { keys: [{ ...fresh, kid: known.kid }] } })).toMatchObject(refused)
    const liar = { ...gateway.client('admin'), key: { ...gateway.client('admin').key, kid: 'admin-2' } }
    await expect(createOauthClient(gateway.issuer, liar).clientCredentials('clients:manage')).rejects.toThrow(
      /invalid_client/,
    )
    expect(await update({ clientId: 'admin', jwks: { keys: [fresh] } })).toMatchObject(refused)
    // Whoever holds the new key shows it by using it; then the old one may go.
    const holder = {
      clientId: 'admin',
      key: { ...(pair.privateKey.export({ format: 'jwk' }) as ClientFile['key']), kid: 'admin-2' },
    }
    const token = await createOauthClient(gateway.issuer, holder).clientCredentials('clients:manage')
    expect(await update({ clientId: 'admin', jwks: { keys: [fresh] } }, token)).toMatchObject({ userErrors: [] })
    expect(await update({ clientId: 'admin', jwks: { keys: [fresh, known] } }, token)).toMatchObject({ userErrors: [] })
    expect((await gateway.own('admin', 'clients:manage')).accessToken).toBeTruthy()
  })

  test('an admin whose keys were never used does not count as another admin', async () => {
    const other = await registeredAdmin('Never seen')
    expect(await suspend('admin')).toMatchObject({ userErrors: [{ code: 'LAST_ADMIN', path: ['clientId'] }] })
    expect(
      await change(gateway.issuer, admin, 'retireClient', 'RetireClientInput', { clientId: 'admin' }),
    ).toMatchObject({
      userErrors: [{ code: 'LAST_ADMIN', path: ['clientId'] }],
    })
    await createOauthClient(gateway.issuer, other).clientCredentials('clients:manage')
    // Its used key is taken away by the other admin: again it is nobody.
    const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const unheld = { ...pair.publicKey.export({ format: 'jwk' }), kid: 'unheld' }
    expect(await update({ clientId: other.clientId, jwks: { keys: [unheld] } })).toMatchObject({ userErrors: [] })
    expect(await suspend('admin')).toMatchObject({ userErrors: [{ code: 'LAST_ADMIN', path: ['clientId'] }] })
    expect(await stateOf('admin')).toBe('ACTIVE')
  })

  test('a key that cannot verify a signature is refused for every client', async () => {
    const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const good = { ...pair.publicKey.export({ format: 'jwk' }), kid: 'k' }
    const wrong: [key: object, path: string][] = [
      [{ ...good, x: Buffer.alloc(32, 1).toString('base64url') }, '0'],
      [{ ...good, alg: 'PS256' }, 'alg'],
      [{ ...good, alg: 'HS256' }, 'alg'],
      [{ kid: 'k', kty: 'OKP', crv: 'Ed25519', x: 'AAAA' }, 'x'],
    ]
    for (const [key, path] of wrong) {
      const { userErrors: errors } = await update({ clientId: 'chatterbox', jwks: { keys: [key] } })
      expect([errors[0]?.code, errors[0]?.path.at(-1)]).toEqual(['INVALID_INPUT', path])
    }
  })

  test('an admin is suspended while another can undo it, and a client that cannot does not count', async () => {
    const other = await newAdmin('Second admin')
    for (const hindrance of ["status = 'SUSPENDED'", "operation_policy = 'REGISTERED_ONLY'", 'points_per_minute = 1']) {
      await gateway.database.query(`update client set ${hindrance} where id = $1`, [other.clientId])
      expect(await suspend('admin'), hindrance).toMatchObject({ userErrors: [{ code: 'LAST_ADMIN' }] })
      await gateway.database.query(
        "update client set status = 'ACTIVE', operation_policy = 'ANY', points_per_minute = 600000 where id = $1",
        [other.clientId],
      )
    }
    expect(await suspend('admin')).toMatchObject({ client: { status: 'SUSPENDED' }, userErrors: [] })
    const token = await createOauthClient(gateway.issuer, other).clientCredentials('clients:manage')
    expect(await suspend(other.clientId, token)).toMatchObject({ userErrors: [{ code: 'LAST_ADMIN' }] })
    expect(
      await change(gateway.issuer, token, 'resumeClient', 'ResumeClientInput', { clientId: 'admin' }),
    ).toMatchObject({
      client: { status: 'ACTIVE' },
    })
  })

  test('exactly one of two admins who suspend each other at the same time at two gateways succeeds', async () => {
    const other = await newAdmin('Rival admin')
    for (let round = 0; round < 12; round++) {
      const [here, there] = [
        await gateway.own('admin', 'clients:manage'),
        await createOauthClient(second.issuer, other).clientCredentials('clients:manage'),
      ]
      const answers = await Promise.allSettled([suspend(other.clientId, here), suspend('admin', there, second.issuer)])
      const statuses = [await stateOf('admin'), await stateOf(other.clientId)]
      expect([...statuses].sort(), JSON.stringify(answers)).toEqual(['ACTIVE', 'SUSPENDED'])
      expect(answers.filter((one) => one.status === 'fulfilled' && one.value.userErrors.length === 0)).toHaveLength(1)
      await gateway.database.query("update client set status = 'ACTIVE' where id in ('admin', $1)", [other.clientId])
      for (const id of ['admin', other.clientId]) {
        await gateway.app.services.signals.publishNow({ kind: 'CLIENT', id })
        await second.app.services.signals.publishNow({ kind: 'CLIENT', id })
      }
    }
  })

  test('concurrent changes that would each remove an admin always leave one admin', async () => {
    const admins = [
      'admin',
      ...(await Promise.all(['A', 'B', 'C'].map((name) => newAdmin(name)))).map((one) => one.clientId),
    ]
    const services = [gateway.app.services.clients, second.app.services.clients]
    const answers = await Promise.allSettled(
      admins.flatMap((id, index) => [
        services[index % 2]!.suspend('admin', id),
        services[(index + 1) % 2]!.update('admin', id, { scopes: ['organizations:manage'] }),
        services[index % 2]!.update('admin', id, { operationPolicy: 'REGISTERED_ONLY' }),
      ]),
    )
    const left = await gateway.database.query<{ id: string }>(
      "select id from client where status = 'ACTIVE' and 'clients:manage' = any(scopes) and operation_policy = 'ANY'",
    )
    expect(left).toHaveLength(1)
    const refused = answers.filter((one) => one.status === 'rejected')
    for (const { reason } of refused) expect((reason as { code: string }).code).toMatch(/^(LAST_ADMIN|STATE_CONFLICT)$/)
    expect(refused.length).toBeGreaterThanOrEqual(3)
  })
})
