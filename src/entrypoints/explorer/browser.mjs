// The script of the explorer page, a small OAuth client in the browser. Like the server of a platform, it signs in with a pushed
// authorization request, PKCE and its own DPoP key, and signs every request. Its client exists only in the sandbox.
const elementById = (id) => document.getElementById(id)
const GRAPHQL_URL = `${location.origin}/graphql`
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
    'Whether a balance is at least 100 EUR',
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
    'The consents of the customer',
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
  ['The remaining rate limit', '{ rateLimit { limit remaining customerRemaining resetsAt } }'],
]

const toBase64url = (bytes) =>
  btoa(String.fromCharCode(...new Uint8Array(bytes)))
    .replace(/\+/g, '-')
    .replace(/\//g, '_')
    .replace(/=/g, '')
const encodeJson = (value) => toBase64url(new TextEncoder().encode(JSON.stringify(value)))
const randomText = (length = 24) => toBase64url(crypto.getRandomValues(new Uint8Array(length)))
const digest = async (value) => toBase64url(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(value)))
const nowSeconds = () => Math.floor(Date.now() / 1000)

const EC = { name: 'ECDSA', namedCurve: 'P-256' }
async function sign(header, claims, jwk) {
  const key = await crypto.subtle.importKey(
    'jwk',
    { ...jwk, use: undefined, alg: undefined, key_ops: undefined },
    EC,
    false,
    ['sign'],
  )
  const input = `${encodeJson({ alg: 'ES256', ...header })}.${encodeJson(claims)}`
  const signature = await crypto.subtle.sign({ name: 'ECDSA', hash: 'SHA-256' }, key, new TextEncoder().encode(input))
  return `${input}.${toBase64url(signature)}`
}
const toPublicKey = ({ kty, crv, x, y }) => ({ kty, crv, x, y })
const createDpopProof = async (jwk, method, url, token) =>
  sign(
    { typ: 'dpop+jwt', jwk: toPublicKey(jwk) },
    { htm: method, htu: url, jti: randomText(), iat: nowSeconds(), ...(token && { ath: await digest(token) }) },
    jwk,
  )

const session = {
  get: (name) => JSON.parse(sessionStorage.getItem(`guichet.${name}`) ?? 'null'),
  set: (name, value) => sessionStorage.setItem(`guichet.${name}`, JSON.stringify(value)),
  clear: () => sessionStorage.clear(),
}

/** The sandbox client of the explorer; undefined outside the sandbox. */
const sandboxClient = fetch('/explorer/client.json').then((response) => (response.ok ? response.json() : undefined))

/** Sends a form to an OAuth endpoint with client authentication and a DPoP proof. Returns the parsed response. */
async function postToOauth(path, fields, dpopJwk) {
  const client = await sandboxClient
  const url = `${location.origin}${path}`
  const assertion = await sign(
    { kid: client.key.kid },
    {
      iss: client.clientId,
      sub: client.clientId,
      aud: location.origin,
      jti: randomText(),
      iat: nowSeconds(),
      exp: nowSeconds() + 60,
    },
    client.key,
  )
  const response = await fetch(url, {
    method: 'POST',
    headers: { dpop: await createDpopProof(dpopJwk, 'POST', url) },
    body: new URLSearchParams({
      ...fields,
      client_id: client.clientId,
      client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
      client_assertion: assertion,
    }),
  })
  // The response to a revocation has no body (RFC 7009, 2.2).
  const text = await response.text()
  const body = text === '' ? {} : JSON.parse(text)
  if (!response.ok) throw new Error(body.error_description ?? body.error)
  return body
}

/**
 * Signs out. Revokes the page's own refresh token, which would otherwise be valid until the consent expires. A pasted token is
 * only deleted, because the page did not obtain it.
 */
async function signOut() {
  const { refreshToken, dpopJwk } = session.get('token') ?? {}
  if (refreshToken)
    await postToOauth('/oauth/revoke', { token: refreshToken, token_type_hint: 'refresh_token' }, dpopJwk)
  session.clear()
  await showSession()
  showStatus(
    refreshToken
      ? 'The token is revoked and the consent has ended.'
      : 'The token is deleted from this page. It is still valid.',
  )
}

async function signIn() {
  const client = await sandboxClient
  const { privateKey } = await crypto.subtle.generateKey(EC, true, ['sign'])
  const dpopJwk = await crypto.subtle.exportKey('jwk', privateKey)
  const [state, codeVerifier] = [randomText(), randomText(32)]
  const { request_uri: requestUri } = await postToOauth(
    '/oauth/par',
    {
      response_type: 'code',
      redirect_uri: client.redirectUri,
      scope: ['openid', 'offline_access', ...SCOPES].join(' '),
      state,
      code_challenge: await digest(codeVerifier),
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
  session.set('signIn', { state, codeVerifier, dpopJwk })
  location.href = `/oauth/authorize?${new URLSearchParams({ client_id: client.clientId, request_uri: requestUri })}`
}

/** Completes a sign-in if the page was opened by its callback. */
async function completeSignIn() {
  const callback = new URLSearchParams(location.search)
  const pending = session.get('signIn')
  if (!callback.has('state')) return
  history.replaceState(null, '', '/explorer')
  if (!pending || callback.get('state') !== pending.state)
    return showStatus('This sign-in was not started in this browser tab.')
  if (!callback.has('code'))
    return showStatus(`Sign-in failed: ${callback.get('error_description') ?? callback.get('error')}`)
  const client = await sandboxClient
  saveToken(
    await postToOauth(
      '/oauth/token',
      {
        grant_type: 'authorization_code',
        code: callback.get('code'),
        code_verifier: pending.codeVerifier,
        redirect_uri: client.redirectUri,
      },
      pending.dpopJwk,
    ),
    pending.dpopJwk,
  )
}

const saveToken = (response, dpopJwk) =>
  session.set('token', {
    accessToken: response.access_token,
    refreshToken: response.refresh_token ?? session.get('token')?.refreshToken,
    idToken: response.id_token ?? session.get('token')?.idToken,
    expiresAt: nowSeconds() + response.expires_in,
    dpopJwk,
  })

/** Returns the token, after renewing it if it is about to expire; null without one. */
async function getToken() {
  const token = session.get('token')
  if (!token?.refreshToken || token.expiresAt - 20 > nowSeconds()) return token
  saveToken(
    await postToOauth(
      '/oauth/token',
      { grant_type: 'refresh_token', refresh_token: token.refreshToken },
      token.dpopJwk,
    ),
    token.dpopJwk,
  )
  return session.get('token')
}

async function execute(query, variables = {}) {
  const token = await getToken()
  const headers = { 'content-type': 'application/json', accept: 'application/json' }
  if (token) {
    headers.authorization = `DPoP ${token.accessToken}`
    headers.dpop = await createDpopProof(token.dpopJwk, 'POST', GRAPHQL_URL, token.accessToken)
    const client = token.clientJwk ? { clientId: token.clientId, key: token.clientJwk } : await sandboxClient
    const customer = token.idToken
      ? JSON.parse(atob(token.idToken.split('.')[1].replace(/-/g, '+').replace(/_/g, '/'))).sub
      : token.customer
    if (client && customer && elementById('present').checked)
      headers['guichet-customer-present'] = await sign(
        { typ: 'customer-present+jwt', kid: client.key.kid },
        { iss: client.clientId, sub: customer, aud: location.origin, iat: nowSeconds() },
        client.key,
      )
  }
  const startedAtMs = performance.now()
  const response = await fetch(GRAPHQL_URL, { method: 'POST', headers, body: JSON.stringify({ query, variables }) })
  return {
    status: response.status,
    durationMs: Math.round(performance.now() - startedAtMs),
    body: await response.json(),
  }
}

const showStatus = (line) => (elementById('status').textContent = line)

async function run() {
  elementById('run').disabled = true
  try {
    const variables = JSON.parse(elementById('variables').value || '{}')
    const { status, durationMs, body } = await execute(elementById('query').value, variables)
    const cost = body.extensions?.cost
    showStatus(
      `HTTP ${status}, ${durationMs} ms${cost ? `, ${cost.used} points used of ${cost.requested} requested` : ''}`,
    )
    elementById('response').textContent = JSON.stringify(body, null, 2)
  } catch (error) {
    showStatus(`The request was not sent: ${error.message}`)
  }
  elementById('run').disabled = false
}

const TYPE_SELECTION = Array(7).fill('kind name').join(' ofType { ') + ' }'.repeat(6)
const formatType = (type) =>
  type.kind === 'NON_NULL'
    ? `${formatType(type.ofType)}!`
    : type.kind === 'LIST'
      ? `[${formatType(type.ofType)}]`
      : type.name

/** Lists the types of the schema. Introspection returns only what the token may see. */
async function showSchema() {
  const { body } = await execute(
    `{ __schema { types { kind name description fields { name description type { ${TYPE_SELECTION} } } } } }`,
  )
  const types = (body.data?.__schema.types ?? []).filter(
    ({ kind, name }) => kind === 'OBJECT' && !name.startsWith('__'),
  )
  const roots = ['Query', 'Mutation', 'Subscription']
  const rank = ({ name }) => (roots.includes(name) ? roots.indexOf(name) : roots.length)
  types.sort((a, b) => rank(a) - rank(b) || a.name.localeCompare(b.name))
  elementById('schema').replaceChildren(
    ...types.map((type) => {
      const box = document.createElement('details')
      box.open = type.name === 'Query'
      const title = document.createElement('summary')
      title.textContent = type.name
      const list = document.createElement('ul')
      for (const field of type.fields ?? []) {
        const item = document.createElement('li')
        const name = document.createElement('code')
        name.textContent = `${field.name}: ${formatType(field.type)}`
        item.append(name, document.createElement('br'), field.description ?? '')
        list.append(item)
      }
      box.append(title, list)
      return box
    }),
  )
}

async function showSession() {
  const token = session.get('token')
  elementById('session').textContent = token
    ? 'Signed in with a token that is bound to a key of this page.'
    : 'Not signed in. Only public fields are available.'
  elementById('sign-in').hidden = token !== null || (await sandboxClient) === undefined
  elementById('sign-out').hidden = token === null
  elementById('sign-out').textContent = token?.refreshToken ? 'Sign out and revoke the token' : 'Delete the token'
  elementById('paste').hidden = token !== null
  await showSchema()
}

const showExample = () => (elementById('query').value = EXAMPLES[Number(elementById('example').value)][1])

for (const [index, [name]] of EXAMPLES.entries()) elementById('example').append(new Option(name, String(index)))
elementById('example').addEventListener('change', showExample)
elementById('run').addEventListener('click', run)
elementById('query').addEventListener('keydown', (event) => {
  if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) void run()
})
elementById('sign-in').addEventListener('click', () => signIn().catch((error) => showStatus(error.message)))
elementById('sign-out').addEventListener('click', () =>
  signOut().catch((error) =>
    showStatus(`The token could not be revoked, so you are still signed in: ${error.message}`),
  ),
)
elementById('use').addEventListener('click', () => {
  try {
    const token = JSON.parse(elementById('pasted').value)
    session.set('token', { ...token, expiresAt: nowSeconds() + 300, refreshToken: undefined })
    elementById('pasted').value = ''
    void showSession()
  } catch {
    showStatus('This is not the JSON output of `guichet sandbox token --json`.')
  }
})
showExample()
await completeSignIn().catch((error) => showStatus(error.message))
await showSession()
if (session.get('token')) elementById('example').value = '1'
showExample()
