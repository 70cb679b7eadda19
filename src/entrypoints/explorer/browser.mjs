// The explorer's page: a small OAuth client in the browser. It signs in with a pushed request, PKCE and a key of its own
// (DPoP), and signs every request, as any platform does on its server. Its client is the sandbox's and opens nothing else.
const at = (id) => document.getElementById(id)
const GRAPH = `${location.origin}/graphql`
const SCOPES = ['accounts:read', 'balances:threshold', 'balances:band', 'balances:exact', 'alerts:read']

const EXAMPLES = [
  ['The banks, and whether each can be connected', '{ banks { nodes { id name country availability } } }'],
  [
    'Accounts with their balances',
    `{
  customer {
    accounts {
      nodes {
        displayName
        maskedNumber
        bank { name }
        balances {
          ... on ExactBalance { value { ...Amount } asOf budget { remaining } }
          ... on BalanceBand { lowerBound { ...Amount } upperBound { ...Amount } fallbackReason { code } }
          ... on BalanceUnavailable { reason { code resolvableBy retryAt } }
        }
      }
    }
  }
}
fragment Amount on Money { amount currency }`,
  ],
  [
    'At least so much?',
    `{
  customer {
    accounts {
      nodes {
        displayName
        thresholdSteps { amount currency }
        balanceAtLeast(threshold: { amount: "100", currency: "EUR" }) {
          ... on BalanceAtLeast { outcome budget { remaining nextAvailableAt } }
          ... on BalanceUnavailable { reason { code resolvableBy } }
        }
      }
    }
  }
}`,
  ],
  [
    'The newest alerts',
    '{ customer { alerts(first: 10) { nodes { type severity requestedAction occurredAt bank { name } } } } }',
  ],
  [
    'What the customer agreed to',
    '{ customer { consents(first: 10) { nodes { id status scopes purposes expiresAt bank { name } } } } }',
  ],
  [
    'Why is a field denied?',
    `{
  explainAccess(target: { path: "customer.accounts.nodes.balances.value" }) {
    path allowed reason scopes consentIds purposes conditions grantableBy
  }
}`,
  ],
  ['What may still be spent', '{ rateLimit { limit remaining customerRemaining resetsAt } }'],
]

const text = (bytes) =>
  btoa(String.fromCharCode(...new Uint8Array(bytes)))
    .replace(/\+/g, '-')
    .replace(/\//g, '_')
    .replace(/=/g, '')
const encoded = (value) => text(new TextEncoder().encode(JSON.stringify(value)))
const random = (length = 24) => text(crypto.getRandomValues(new Uint8Array(length)))
const digest = async (value) => text(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(value)))
const now = () => Math.floor(Date.now() / 1000)

const EC = { name: 'ECDSA', namedCurve: 'P-256' }
async function sign(header, claims, jwk) {
  const key = await crypto.subtle.importKey(
    'jwk',
    { ...jwk, use: undefined, alg: undefined, key_ops: undefined },
    EC,
    false,
    ['sign'],
  )
  const input = `${encoded({ alg: 'ES256', ...header })}.${encoded(claims)}`
  const signature = await crypto.subtle.sign({ name: 'ECDSA', hash: 'SHA-256' }, key, new TextEncoder().encode(input))
  return `${input}.${text(signature)}`
}
const publicOf = ({ kty, crv, x, y }) => ({ kty, crv, x, y })
const proof = async (jwk, method, url, token) =>
  sign(
    { typ: 'dpop+jwt', jwk: publicOf(jwk) },
    { htm: method, htu: url, jti: random(), iat: now(), ...(token && { ath: await digest(token) }) },
    jwk,
  )

const session = {
  get: (name) => JSON.parse(sessionStorage.getItem(`guichet.${name}`) ?? 'null'),
  set: (name, value) => sessionStorage.setItem(`guichet.${name}`, JSON.stringify(value)),
  clear: () => sessionStorage.clear(),
}

const clientReady = fetch('/explorer/client.json').then((answer) => (answer.ok ? answer.json() : undefined))

async function asClient(path, fields, dpopJwk) {
  const client = await clientReady
  const url = `${location.origin}${path}`
  const assertion = await sign(
    { kid: client.key.kid },
    { iss: client.clientId, sub: client.clientId, aud: location.origin, jti: random(), iat: now(), exp: now() + 60 },
    client.key,
  )
  const answer = await fetch(url, {
    method: 'POST',
    headers: { dpop: await proof(dpopJwk, 'POST', url) },
    body: new URLSearchParams({
      ...fields,
      client_id: client.clientId,
      client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
      client_assertion: assertion,
    }),
  })
  // A revocation is answered without a body (RFC 7009, 2.2).
  const written = await answer.text()
  const body = written === '' ? {} : JSON.parse(written)
  if (!answer.ok) throw new Error(body.error_description ?? body.error)
  return body
}

/**
 * Ends what this page was given: a refresh token lives for as long as the customer agreed to, wherever it was copied to. A token
 * that was pasted belongs to whoever made it, and is forgotten only.
 */
async function forget() {
  const { refreshToken, dpopJwk } = session.get('token') ?? {}
  if (refreshToken) await asClient('/oauth/revoke', { token: refreshToken, token_type_hint: 'refresh_token' }, dpopJwk)
  session.clear()
  await show()
  say(
    refreshToken
      ? 'The token is revoked, and the sharing that it stood for has ended.'
      : 'The token is forgotten here.',
  )
}

async function signIn() {
  const client = await clientReady
  const { privateKey } = await crypto.subtle.generateKey(EC, true, ['sign'])
  const dpopJwk = await crypto.subtle.exportKey('jwk', privateKey)
  const [state, verifier] = [random(), random(32)]
  const pushed = await asClient(
    '/oauth/par',
    {
      response_type: 'code',
      redirect_uri: client.redirectUri,
      scope: ['openid', 'offline_access', ...SCOPES].join(' '),
      state,
      code_challenge: await digest(verifier),
      code_challenge_method: 'S256',
      authorization_details: JSON.stringify([
        {
          type: 'urn:guichet:account-information',
          actions: SCOPES,
          purposes: ['ANSWER_CUSTOMER', 'FRAUD_AND_SECURITY_ALERTS'],
          chat: { label: 'Explorer, in this browser tab' },
        },
      ]),
    },
    dpopJwk,
  )
  session.set('visit', { state, verifier, dpopJwk })
  location.href = `/oauth/authorize?${new URLSearchParams({ client_id: client.clientId, request_uri: pushed.request_uri })}`
}

async function comeBack() {
  const given = new URLSearchParams(location.search)
  const visit = session.get('visit')
  if (!given.has('state')) return
  history.replaceState(null, '', '/explorer')
  if (!visit || given.get('state') !== visit.state) return say('That answer was not for this page.')
  if (!given.has('code')) return say(`Nothing was shared: ${given.get('error_description') ?? given.get('error')}`)
  const client = await clientReady
  keep(
    await asClient(
      '/oauth/token',
      {
        grant_type: 'authorization_code',
        code: given.get('code'),
        code_verifier: visit.verifier,
        redirect_uri: client.redirectUri,
      },
      visit.dpopJwk,
    ),
    visit.dpopJwk,
  )
}

const keep = (body, dpopJwk) =>
  session.set('token', {
    accessToken: body.access_token,
    refreshToken: body.refresh_token ?? session.get('token')?.refreshToken,
    idToken: body.id_token ?? session.get('token')?.idToken,
    expiresAt: now() + body.expires_in,
    dpopJwk,
  })

async function freshToken() {
  const token = session.get('token')
  if (!token?.refreshToken || token.expiresAt - 20 > now()) return token
  keep(
    await asClient('/oauth/token', { grant_type: 'refresh_token', refresh_token: token.refreshToken }, token.dpopJwk),
    token.dpopJwk,
  )
  return session.get('token')
}

async function ask(query, variables = {}) {
  const token = await freshToken()
  const headers = { 'content-type': 'application/json', accept: 'application/json' }
  if (token) {
    headers.authorization = `DPoP ${token.accessToken}`
    headers.dpop = await proof(token.dpopJwk, 'POST', GRAPH, token.accessToken)
    const client = token.clientJwk ? { clientId: token.clientId, key: token.clientJwk } : await clientReady
    const customer = token.idToken
      ? JSON.parse(atob(token.idToken.split('.')[1].replace(/-/g, '+').replace(/_/g, '/'))).sub
      : token.customer
    if (client && customer && at('present').checked)
      headers['guichet-customer-present'] = await sign(
        { typ: 'customer-present+jwt', kid: client.key.kid },
        { iss: client.clientId, sub: customer, aud: location.origin, iat: now() },
        client.key,
      )
  }
  const began = performance.now()
  const answer = await fetch(GRAPH, { method: 'POST', headers, body: JSON.stringify({ query, variables }) })
  return { status: answer.status, tookMs: Math.round(performance.now() - began), body: await answer.json() }
}

const say = (line) => (at('meta').textContent = line)

async function run() {
  at('run').disabled = true
  try {
    const { status, tookMs, body } = await ask(at('query').value, JSON.parse(at('variables').value || '{}'))
    const cost = body.extensions?.cost
    say(`HTTP ${status}, ${tookMs} ms${cost ? `, ${cost.used} of at most ${cost.requested} points` : ''}`)
    at('answer').textContent = JSON.stringify(body, null, 2)
  } catch (error) {
    say(`Not asked: ${error.message}`)
  }
  at('run').disabled = false
}

const TYPE = Array(7).fill('kind name').join(' ofType { ') + ' }'.repeat(6)
const written = (type) =>
  type.kind === 'NON_NULL' ? `${written(type.ofType)}!` : type.kind === 'LIST' ? `[${written(type.ofType)}]` : type.name

/** Introspection answers only what the token may see, so the list is simply all of it. */
async function showSchema() {
  const { body } = await ask(
    `{ __schema { types { kind name description fields { name description type { ${TYPE} } } } } }`,
  )
  const types = (body.data?.__schema.types ?? []).filter(
    ({ kind, name }) => kind === 'OBJECT' && !name.startsWith('__'),
  )
  const roots = ['Query', 'Mutation', 'Subscription']
  const rank = ({ name }) => (roots.includes(name) ? roots.indexOf(name) : roots.length)
  types.sort((a, b) => rank(a) - rank(b) || a.name.localeCompare(b.name))
  at('seen').replaceChildren(
    ...types.map((type) => {
      const box = document.createElement('details')
      box.open = type.name === 'Query'
      const title = document.createElement('summary')
      title.textContent = type.name
      const list = document.createElement('ul')
      for (const field of type.fields ?? []) {
        const item = document.createElement('li')
        const name = document.createElement('code')
        name.textContent = `${field.name}: ${written(field.type)}`
        item.append(name, document.createElement('br'), field.description ?? '')
        list.append(item)
      }
      box.append(title, list)
      return box
    }),
  )
}

async function show() {
  const token = session.get('token')
  at('who').textContent = token
    ? 'With a token, bound to a key that this page holds.'
    : 'No token: what is public can be asked.'
  at('sign-in').hidden = token !== null || (await clientReady) === undefined
  at('sign-out').hidden = token === null
  at('sign-out').textContent = token?.refreshToken ? 'Revoke and forget the token' : 'Forget the token'
  at('paste').hidden = token !== null
  await showSchema()
}

for (const [index, [name]] of EXAMPLES.entries()) at('example').append(new Option(name, String(index)))
at('example').addEventListener('change', () => (at('query').value = EXAMPLES[Number(at('example').value)][1]))
at('query').value = EXAMPLES[0][1]
at('run').addEventListener('click', run)
at('query').addEventListener('keydown', (event) => {
  if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) void run()
})
at('sign-in').addEventListener('click', () => signIn().catch((error) => say(error.message)))
at('sign-out').addEventListener('click', () =>
  forget().catch((error) => say(`Not revoked, and not forgotten: ${error.message}`)),
)
at('use').addEventListener('click', () => {
  try {
    const given = JSON.parse(at('pasted').value)
    session.set('token', { ...given, expiresAt: now() + 300, refreshToken: undefined })
    at('pasted').value = ''
    void show()
  } catch {
    say('That is not the JSON of a token.')
  }
})
await comeBack().catch((error) => say(error.message))
await show()
if (session.get('token')) at('example').value = '1'
at('query').value = EXAMPLES[Number(at('example').value)][1]
