import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createAuthorizationHeaders, createOauthClient, type Token } from '../../src/entrypoints/cli/oauth-client.ts'
import { startGateway, type TestGateway } from '../support/gateway.ts'

let gateway: TestGateway
let customer: Token
let band: Token
let client: Token
beforeAll(async () => {
  gateway = await startGateway()
  customer = await gateway.customer('ada', ['northbank'])
  band = await gateway.customer('cleo', ['rheinbank'], { scopes: ['accounts:read', 'balances:band'] })
  client = await gateway.own('chatterbox', 'webhooks:manage deliveries:read')
})
afterAll(() => gateway.close())

const MARK = 'zqxmarkzqx'

interface Answer {
  status: number
  challenge: string | null
  text: string
  data?: Record<string, unknown> | null
  errors: { message: string; path?: string[]; extensions: Record<string, unknown> }[]
}
async function ask(
  token: Token | undefined,
  query: string,
  variables: Record<string, unknown> = {},
  headers: Record<string, string> = {},
): Promise<Answer> {
  const url = `${gateway.issuer}/graphql`
  const answer = await fetch(url, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      ...headers,
      ...(token && (await createAuthorizationHeaders(token, 'POST', url))),
    },
    body: JSON.stringify({ query, variables }),
  })
  const text = await answer.text()
  const { data, errors = [] } = JSON.parse(text) as Partial<Answer>
  return {
    status: answer.status,
    challenge: answer.headers.get('www-authenticate'),
    text,
    errors,
    ...(data !== undefined && { data }),
  }
}
const messages = ({ errors }: Answer): string[] => errors.map(({ message }) => message)

describe('a time range', () => {
  const INSTANT = '2026-11-02T00:00:00.000Z'
  const RANGES = {
    alerts: [(range) => `{ customer { alerts(filter: { occurred: ${range} }) { totalCount } } }`, 'filter.occurred'],
    deliveries: [
      (range) => `{ client { deliveries(filter: { created: ${range} }) { nodes { id } } } }`,
      'filter.created',
    ],
    auditLog: [(range) => `{ auditLog(filter: { occurred: ${range} }) { nodes { id } } }`, 'filter.occurred'],
    usage: [(range) => `{ client { usage(range: ${range}, interval: DAY) { requestCount } } }`, 'range'],
  } as const satisfies Record<string, readonly [(range: string) => string, string]>

  test.each(Object.entries(RANGES))(
    'a time range of %s that does not begin before it ends is refused',
    async (list, [queryOf, path]) => {
      const token =
        list === 'alerts' ? customer : list === 'auditLog' ? await gateway.own('admin', 'ledger:read') : client
      for (const until of [INSTANT, '2026-11-01T00:00:00.000Z']) {
        const { errors } = await ask(token, queryOf(`{ since: "${INSTANT}", until: "${until}" }`))
        expect(errors).toMatchObject([
          {
            message: `\`${path}.since\` must be before \`${path}.until\`.`,
            extensions: { code: 'INVALID_INPUT', argument: `${path}.since` },
          },
        ])
      }
    },
  )

  test('a time range of replayDeliveries that does not begin before it ends is refused', async () => {
    const select = `created: { since: "${INSTANT}", until: "${INSTANT}" }`
    const query = `mutation { replayDeliveries(input: { select: { ${select} } }) { userErrors { code message } } }`
    expect((await ask(client, query)).data).toMatchObject({
      replayDeliveries: {
        userErrors: [
          { code: 'INVALID_INPUT', message: '`select.created.since` must be before `select.created.until`.' },
        ],
      },
    })
  })
})

describe('a page size or cursor', () => {
  test.each([
    ['first: 101', 'first', '`first` must be from 0 to 100.'],
    ['first: -1', 'first', '`first` must be from 0 to 100.'],
    ['last: 101', 'last', '`last` must be from 0 to 100.'],
    ['after: "account_nobody"', 'after', '`after` must be a cursor that this list returned.'],
    [
      'first: 200, last: 300, before: "x"',
      'first',
      '`first` must be from 0 to 100. `last` must be from 0 to 100. `before` must be a cursor that this list returned.',
    ],
  ])(
    'invalid page sizes and cursors are reported together, each with what is allowed: %s',
    async (args, argument, message) => {
      const answer = await ask(customer, `{ customer { accounts(${args}) { nodes { id } } } }`)
      expect(answer.errors).toMatchObject([
        { message, path: ['customer', 'accounts'], extensions: { code: 'INVALID_INPUT', argument } },
      ])
    },
  )

  const FIRST = '`first` must be from 0 to 100.'
  const AFTER = '`after` must be a cursor that this list returned.'
  const OF_CLIENT = ['deliveries', 'consents'].map(
    (list) => [list, (args: string) => `client { ${list}(${args})`] as const,
  )
  test.each([...OF_CLIENT, ['auditLog', (args: string) => `auditLog(${args})`] as const])(
    'invalid page sizes and cursors of a list in the database are reported with all other faults: %s',
    async (list, of) => {
      const token = list === 'auditLog' ? await gateway.own('admin', 'ledger:read') : client
      const query = (args: string) => `{ ${of(args)} { nodes { id } } ${list === 'auditLog' ? '' : '}'} }`
      expect(messages(await ask(token, query('first: 101')))).toEqual([FIRST])
      expect(messages(await ask(token, query('after: "x"')))).toEqual([AFTER])
      expect(messages(await ask(token, query('first: 101, after: "x"')))).toEqual([`${FIRST} ${AFTER}`])
    },
  )

  test('an invalid page size or cursor of the audit log is reported with the faults of its filter', async () => {
    const ids = JSON.stringify(Array<string>(51).fill('x'))
    const range = 'occurred: { since: "2026-11-02T00:00:00.000Z", until: "2026-11-01T00:00:00.000Z" }'
    const query = `{ auditLog(first: 5, last: 101, before: "x", filter: { clientIds: ${ids}, ${range} }) { nodes { id } } }`
    const { errors } = await ask(await gateway.own('admin', 'ledger:read'), query)
    expect(errors).toMatchObject([{ extensions: { code: 'INVALID_INPUT', argument: 'last' } }])
    expect(errors[0]!.message).toBe(
      '`last` must be from 0 to 100. `last` must be absent beside `first`. `before` must be a cursor that this list returned. `filter.clientIds` must have at most 50 items. `filter.occurred.since` must be before `filter.occurred.until`.',
    )
  })
})

describe('a limit', () => {
  test.each([
    [`{ ${Array.from({ length: 21 }, (_, i) => `a${i}: __typename`).join(' ')} }`, 'at most 20 selections at its root'],
    [`{ banks { nodes { ${Array.from({ length: 61 }, (_, i) => `a${i}: id`).join(' ')} } } }`, 'at most 60 aliases'],
    [`{ customer ${'{ consents { nodes '.repeat(20)}{ id }${'} }'.repeat(20)} }`, 'at most 16 levels of fields'],
    [
      '{ customer { accounts(first: 100) { nodes { alerts(first: 100) { nodes { bank { outages { startsAt } } } } } } } }',
      'at most 20000 points',
    ],
  ])('the error about a document limit states the limit: %#', async (query, words) => {
    const { errors } = await ask(customer, query)
    expect(errors).toMatchObject([{ extensions: { code: 'OPERATION_TOO_LARGE' } }])
    expect(errors[0]!.message).toContain(words)
  })

  test('the error about a long list of IDs or a large body states the limit', async () => {
    const ids = Array<string>(51).fill('x')
    expect(messages(await ask(undefined, 'query ($ids: [ID!]!) { nodes(ids: $ids) { id } }', { ids }))).toEqual([
      '`ids` must hold at most 50 IDs.',
    ])
    const large = await ask(undefined, '{ banks { nodes { id } } }', { x: 'y'.repeat(70_000) })
    expect(messages(large)).toEqual(['The request body may have at most 65536 bytes.'])
  })
})

describe('variables that do not fit', () => {
  test('all faults of the variables are reported by field, without the given values', async () => {
    const answer = await ask(
      client,
      'mutation ($input: UpdateWebhookEndpointInput!, $other: ReplayDeliveriesInput!) { updateWebhookEndpoint(input: $input) { userErrors { code } } replayDeliveries(input: $other) { userErrors { code } } }',
      { input: { status: MARK, [MARK]: 1 }, other: { select: null, idempotencyKey: MARK.slice(0, 3) } },
    )
    expect(messages(answer)).toEqual([
      'The variable has unknown fields; the known ones are webhookEndpointId, status, url, format, ordering.',
      '`webhookEndpointId` is required.',
      '`status` must be one of ACTIVE, DISABLED.',
      '`select` must not be null.',
      '`idempotencyKey` must be 8 to 64 letters, digits, underscores or hyphens.',
    ])
    expect(answer.errors.map(({ extensions }) => extensions['argument'])).toEqual([
      'input',
      'webhookEndpointId',
      'status',
      'select',
      'idempotencyKey',
    ])
    expect(answer.status).toBe(400)
    expect(answer.text).not.toContain(MARK.slice(0, 3))
  })

  test.each<[string, unknown, string]>([
    ['Int', MARK, 'The variable must be a whole number from -2147483648 to 2147483647.'],
    ['Int', 2 ** 40, 'The variable must be a whole number from -2147483648 to 2147483647.'],
    ['Cursor', 'a b', 'The variable must be a cursor that this list returned.'],
    ['AccountFilter', [], 'The variable must be an object.'],
    ['AccountFilter', { bankIds: ['x', null] }, '`bankIds[1]` must not be null.'],
    ['AccountFilter', { currencies: ['EUR', MARK] }, '`currencies[1]` must be three capital letters (ISO 4217).'],
  ])('the error about an invalid variable describes the values of its type: %s of %j', async (type, value, message) => {
    const argument = { Int: 'first', Cursor: 'after', AccountFilter: 'filter' }[type]!
    const query = `query ($x: ${type}) { customer { accounts(${argument}: $x) { nodes { id } } } }`
    const answer = await ask(customer, query, { x: value })
    expect(messages(answer)).toEqual([message])
    expect(answer.text).not.toContain(MARK)
  })

  test('at most twenty faults of the variables are reported', async () => {
    const query = 'query ($x: [ID!]!) { nodes(ids: $x) { id } }'
    const answer = await ask(undefined, query, { x: Array<null>(10_000).fill(null) })
    expect(messages(answer)).toHaveLength(20)
    expect(messages(answer)[19]).toBe('`[19]` must not be null.')
  })

  test('an error about an invalid variable reveals nothing about a type that the caller may not see', async () => {
    const query = 'mutation ($x: UpdateClientInput!) { updateClient(input: $x) { userErrors { code } } }'
    for (const token of [undefined, customer]) {
      const answer = await ask(token, query, { x: { nope: 1 } })
      expect(answer.errors).toMatchObject([{ extensions: { code: 'INVALID_INPUT' } }])
      expect(answer.text).not.toMatch(/pointsPerMinute|scopes|keys|operations/)
    }
  })
})

describe('a name that does not exist', () => {
  test.each([
    ['a field', '{ customer { acounts { nodes { id } } } }', 'Did you mean "accounts"'],
    ['an argument', '{ customer { accounts(frist: 1) { nodes { id } } } }', 'Did you mean "first"'],
    [
      'an enum value',
      '{ customer { accounts(filter: { types: [SAVING] }) { nodes { id } } } }',
      'Did you mean the enum value "SAVINGS"',
    ],
    [
      'a field of an input',
      '{ customer { accounts(filter: { bankId: ["x"] }) { nodes { id } } } }',
      'Did you mean "bankIds"',
    ],
    ['a type', '{ customer { ... on Custmer { id } } }', 'Did you mean "Customer"'],
  ])('an error about an unknown name suggests the nearest known one: %s', async (_what, query, words) => {
    const { errors } = await ask(customer, query)
    expect(errors[0]!.extensions['code']).toBe('MALFORMED_REQUEST')
    expect(errors[0]!.message).toContain(words)
  })

  test('an error about an unknown name never suggests a name that the caller may not see', async () => {
    const near: [Token | undefined, string][] = [
      [undefined, '{ client { id } clienst { id } }'],
      [undefined, '{ viewr { id } }'],
      [undefined, '{ connectrs { id } platfrms { id } }'],
      [undefined, 'mutation { suspendClien(input: { id: "x" }) { userErrors { code } } }'],
      [undefined, '{ customer { acounts { nodes { id } } } }'],
      [band, '{ customer { accounts { nodes { balancs { __typename } alrts { nodes { id } } } } } }'],
      [
        band,
        '{ customer { accounts { nodes { balances { ... on ExactBalanc { id } ... on ExactBalance { valu { amont } } } } } } }',
      ],
      [band, 'mutation { updateClien(input: { id: "x", quotaPerMinut: 1 }) { userErrors { code } } }'],
      [band, '{ __type(name: "Clien") { nam } clients { nodes { nam } } }'],
    ]
    for (const [token, query] of near) {
      const { errors, text } = await ask(token, query)
      expect(errors.length, query).toBeGreaterThan(0)
      const suggested = errors.flatMap(({ message }) => message.split('Did you mean').slice(1)).join()
      expect(suggested, query).not.toMatch(
        /client|customer|connector|organization|suspend|update|quota|account|alerts|Exact|amount/i,
      )
      expect(text).not.toMatch(/ExactBalance|suspendClient|updateClient|pointsPerMinute/)
    }
    // What they may see is named to them.
    expect((await ask(band, '{ customer { accounts { nodes { balancs { __typename } } } } }')).text).toContain(
      'Did you mean \\"balances\\"',
    )
  })

  test('an error repeats neither an unknown name nor an invalid value, quoted or not', async () => {
    for (const value of [MARK, `"${MARK}"`, `{ ${MARK}: 1 }`, `"a\\"${MARK}"`, '12.5e7', `[${MARK}]`]) {
      for (const args of [`first: ${value}`, `after: ${value}`, `filter: { types: ${value} }`, `filter: ${value}`]) {
        const answer = await ask(customer, `{ customer { accounts(${args}) { nodes { id } } } }`)
        expect(answer.text).not.toContain(MARK)
        expect(answer.text).not.toContain('12.5e7')
      }
    }
  })
})

describe('a request without a token', () => {
  test('each field that is denied to a request without a token has an error with the required scopes', async () => {
    const { status, data, errors } = await ask(
      undefined,
      '{ banks { nodes { id } } customer { id } clients { nodes { id } } }',
    )
    expect(status).toBe(200)
    expect(data).toMatchObject({ customer: null, clients: null })
    for (const error of errors)
      expect(error).toMatchObject({
        message: 'This field requires an access token, and the request has none.',
        extensions: { code: 'UNAUTHENTICATED', missingScopes: expect.any(Array) as unknown },
      })
  })

  test('a request without a token that prefers a whole refusal gets 401 and a challenge without an error', async () => {
    const answer = await ask(undefined, '{ customer { id } }', {}, { 'guichet-unauthorized': 'all' })
    expect([answer.status, answer.errors[0]!.extensions['code']]).toEqual([401, 'UNAUTHENTICATED'])
    expect(answer.challenge).toMatch(/^DPoP /)
    expect(answer.challenge).not.toContain('error=')
    const stream = { accept: 'text/event-stream' }
    expect((await ask(undefined, 'subscription { alertReceived { id } }', {}, stream)).status).toBe(401)
    expect((await ask(band, '{ clients { nodes { id } } }', {}, { 'guichet-unauthorized': 'all' })).status).toBe(403)
  })
})

describe('a client that is suspended', () => {
  test('only a caller that authenticates as a suspended client learns of the suspension', async () => {
    const { clients } = gateway.app.services
    const own = createOauthClient(gateway.issuer, gateway.client('chatterbox'))
    await clients.suspend('admin', 'chatterbox')
    const refused = await ask(client, '{ banks { nodes { id } } }')
    expect([refused.status, refused.errors[0]!.extensions['code']]).toEqual([401, 'CLIENT_SUSPENDED'])
    await expect(own.clientCredentials('webhooks:manage')).rejects.toThrow('invalid_client: the client is suspended')

    const other = gateway.client('chatterbox-bearer')
    const forged = { ...other, clientId: gateway.client('chatterbox').clientId }
    await expect(createOauthClient(gateway.issuer, forged).clientCredentials('webhooks:manage')).rejects.toThrow(
      /^invalid_client: (?!.*suspended)/,
    )
    await clients.resume('admin', 'chatterbox')
    expect((await own.clientCredentials('webhooks:manage')).accessToken).toBeDefined()
  })
})

describe('documents that are registered', () => {
  test('all faults of the documents in a registration are reported', async () => {
    const own = await gateway.own('chatterbox', 'webhooks:manage')
    const register =
      'mutation ($input: RegisterOperationsInput!) { registerOperations(input: $input) { userErrors { code path message } } }'
    const { data } = await ask(own, register, { input: { documents: ['{ banks { nodes { id } } }', '{', '{ nope }'] } })
    const { userErrors } = data!['registerOperations'] as { userErrors: { path: string[]; message: string }[] }
    expect(userErrors.map(({ path }) => path)).toEqual([
      ['documents', '1'],
      ['documents', '2'],
    ])
    expect(userErrors[0]!.message).toContain('`documents[1]` must be a valid document')
  })
})
