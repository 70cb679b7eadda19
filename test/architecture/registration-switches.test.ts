import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { STANDARDS, type StandardId } from '../../src/connectors/index.ts'
import { findTitles } from '../../tools/test-names.ts'
import { leavesOf } from '../support/registration-members.ts'
import { ADDRESS } from '../support/standards.ts'

/** A test, and the switches of a registration that a bank meets in it. A value of a switch has its name after `=`. */
interface Row {
  /** Below test/, without `.test.ts`. */
  readonly file: string
  readonly title: string
  readonly switches: string
}

/** Tests at a bank: an official file, an independent provider, the sandbox, or a server of the test itself. */
const AT_A_BANK: readonly Row[] = [
  {
    file: 'journeys/registering',
    title: 'a connector is drafted, certified and activated by an admin, and customers use it without a restart',
    switches: `bank.id bank.name bank.country authorizationServer apiBase clientId testInterface events.issuer events.keys version=4.0 oauth.clientAuthentication=private_key_jwt oauth.assertionAudience=ISSUER oauth.signingAlgorithm=ES256 oauth.bankAlgorithm=ES256 oauth.responseMode=jwt oauth.idToken=TOKEN_ENDPOINT oauth.bearerToken=ACCESS_TOKEN events.tokenTypes events.criticalHeaders=NONE`,
  },
  {
    file: 'entrypoints/customer',
    title: 'an alert has its account and a link to the app of its bank',
    switches: `bankAppUrl`,
  },
  {
    file: 'entrypoints/redirect-pages',
    title: "every form of the gateway's pages gets a redirect to a page of the gateway",
    switches: `authorizationOrigins`,
  },
  {
    file: 'journeys/certifying',
    title: 'a connector is never certified if the bank is slower than it declares',
    switches: `readTimeoutMs`,
  },
  {
    file: 'journeys/certifying',
    title: 'the sandbox banks of all standards and versions are certified within five minutes',
    switches: `balanceCluster=ACCOUNT_DETAILED`,
  },
  {
    file: 'journeys/mutual-tls',
    title: 'a connector with mutual TLS presents its own certificate from the first check, and its key is sealed',
    switches: `mutualTls certificates.transport=SELF_SIGNED certificates.signing=NONE`,
  },
  {
    file: 'journeys/certificates',
    title: 'the gateway makes the key and the request, and presents the answer of the authority to the bank',
    switches: `certificates.transport=ISSUED trustAnchors`,
  },
  {
    file: 'journeys/certificates',
    title: 'the client ID is the organization of the certificate if that identifies the gateway',
    switches: `certificates.identifyClient`,
  },
  {
    file: 'journeys/certificates',
    title: 'a signing certificate needs a key for the algorithm of the profile, whose public part is then published',
    switches: `certificates.signing=ISSUED`,
  },
  {
    file: 'journeys/oauth-deviations',
    title: 'a bank with %s passes the whole certification',
    switches: `oauth.clientAuthentication=client_secret_basic oauth.clientAuthentication=client_secret_post oauth.signingAlgorithm=EdDSA oauth.assertionAudience=TOKEN_ENDPOINT oauth.responseType=code+id_token oauth.responseMode=fragment oauth.responseMode=query oauth.requestObject.audience version consent=CONSENT_API balanceCluster=BALANCES`,
  },
  {
    file: 'journeys/oauth-deviations',
    title: 'a bank with plain OAuth passes all checks but the end of a consent that it cannot name',
    switches: `consent=OAUTH_SCOPE oauth.usesPar oauth.scope oauth.responseType=code oauth.idToken=NONE`,
  },
  {
    file: 'conformance/openid-journeys',
    title: 'a customer of %s signs in, and the gateway reads accounts, refreshes and ends the consent',
    switches: `oauth.clientAuthentication=tls_client_auth oauth.signingAlgorithm=PS256 oauth.bankAlgorithm=PS256 oauth.bankAlgorithm=RS256 oauth.bankAlgorithm=EdDSA oauth.idToken=FRONT_CHANNEL oauth.usesOpenIdConnect sca=OAUTH clientToken`,
  },
  {
    file: 'conformance/oauth-switches',
    title: 'a customer of a bank %s signs in, and the gateway reads, refreshes and ends the consent',
    switches: `oauth.metadataUrl oauth.endpoints.authorization oauth.endpoints.token oauth.endpoints.pushedAuthorizationRequest oauth.endpoints.jwks oauth.endpoints.revocation oauth.tokenEndpoint oauth.usesMetadataLink oauth.clientAuthentication=self_signed_tls_client_auth oauth.clientAuthentication=none oauth.requestObject.lifetimeSeconds oauth.requestObject.repeatedParameters oauth.idTokenNamesConsent oauth.tokenScope oauth.clientScope oauth.authorizationParameters oauth.parameterNames oauth.base64Parameter oauth.usesUpperCaseResponseType oauth.encodesBase64Parameters oauth.tokenParameters oauth.bearerToken=ID_TOKEN sca=OAUTH_PRE_STEP`,
  },
  {
    file: 'conformance/oauth-switches',
    title: 'an ID token that expired 20 seconds ago leads with a tolerance of %i seconds to %s',
    switches: `oauth.clockToleranceSeconds`,
  },
  {
    file: 'journeys/event-switches',
    title: 'all events of a token take effect once, even if the token arrives ten times concurrently',
    switches: `events.maxEventsPerToken`,
  },
  {
    file: 'journeys/event-switches',
    title: 'events fail temporarily while the published keys cannot be had, and are accepted later',
    switches: `events.keysUrl`,
  },
  {
    file: 'conformance/berlin-group-profiles',
    title: 'a bank that wants a parameter of its own gets it with every request',
    switches: `queryParameters`,
  },
  {
    file: 'journeys/event-switches',
    title: 'a key that the bank publishes for RS256 verifies its events only if the registration accepts that',
    switches: `events.acceptsRs256`,
  },
  {
    file: 'journeys/event-switches',
    title: 'tokens for the client id of the gateway are accepted, and no others',
    switches: `events.audience`,
  },
  {
    file: 'journeys/event-switches',
    title: 'the parameters of Open Banking in a header are those of the registered organisation and directory',
    switches: `events.criticalHeaders=OPEN_BANKING events.headerIssuer events.trustAnchor`,
  },
  {
    file: 'journeys/event-switches',
    title: 'the clock of a bank may be ahead as far as its registration says',
    switches: `events.clockToleranceSeconds`,
  },
  {
    file: 'journeys/client-certificates',
    title:
      'a notification with a pinned certificate and without a signature leads to one alert, even if it is repeated',
    switches: `events.clientCertificates`,
  },
  {
    file: 'journeys/event-queue',
    title: 'what the bank queued while nobody fetched it arrives, is acknowledged once stored, and leaves the queue',
    switches: `events.pollUrl`,
  },
  {
    file: 'conformance/obie',
    title: 'the connector sends no invalid request',
    switches: `version=3.1.11 bulkBalances eventsApi messageSigning.issuer`,
  },
  {
    file: 'conformance/obie',
    title: 'a bank that needs time for a consent is asked for it, and no random response ends the sign-in too early',
    switches: `consentReadyAfterSeconds financialId`,
  },
  {
    file: 'conformance/cdr',
    title:
      'a bank that allows smaller pages than the standard gets valid requests with its size, and every page is read',
    switches: `pageSize`,
  },
  {
    file: 'conformance/cdr',
    title: 'the connector sends no invalid request',
    switches: `version=1.36.0`,
  },
  {
    file: 'conformance/berlin-group-profiles',
    title: 'a bank that redirects and knows the gateway by its certificate gets valid requests without a token',
    switches: `sca=REDIRECT clientToken`,
  },
  {
    file: 'conformance/berlin-group-profiles',
    title: 'a bank that confirms by a code gets valid requests with the method and the code',
    switches: `customerIdentification.types.value customerIdentification.types.name`,
  },
  {
    file: 'conformance/berlin-group-profiles',
    title: 'a bank with consents of the kind %s gets a valid one',
    switches: `consentAccess=BANK_OFFERED consentAccess=ALL_PSD2 consentAccess=DEDICATED`,
  },
  {
    file: 'conformance/berlin-group-profiles',
    title: 'a bank behind a hub has other paths, and every request names the client to the hub',
    switches: `paths.version paths.newConsents=bank-offered-consents clientIdHeader`,
  },
  {
    file: 'conformance/berlin-group-profiles',
    title: 'a bank that types addresses as IPv4 never gets another one',
    switches: `customerIp=IPV4`,
  },
  {
    file: 'conformance/berlin-group-profiles',
    title: 'a bank that states balances with its accounts is asked for them in the list, and never for those of cards',
    switches: `balancesWithAccounts`,
  },
  {
    file: 'conformance/berlin-group-profiles',
    title: 'every request of a sign-in, of reads and of the end is accepted: %s, %s, %j',
    switches: `signatures.algorithm=rsa-sha256 signatures.algorithm=rsa-sha512 signatures.algorithm=ecdsa-sha256 signatures.algorithm=ed25519 signatures.digest=SHA-256 signatures.digest=SHA-512 signatures.headers signatures.keyId=SERIAL_AND_ISSUER signatures.keyId=SERIAL_AND_REVERSED_ISSUER signatures.keyId=SERIAL signatures.keyId=CLIENT_ID signatures.placement=SIGNATURE signatures.placement=AUTHORIZATION signatures.draft=10 signatures.draft=12`,
  },
  {
    file: 'conformance/berlin-group',
    title: 'the connector sends no invalid request',
    switches: `version=1.3.11 cardAccounts consentAccess=BANK_OFFERED paths.newConsents=consents customerIp=ANY`,
  },
  {
    file: 'journeys/dynamic-registration',
    title: 'a bank gets the request as its registration says, at an endpoint that no metadata names',
    switches: `oauth.endpoints.registration dynamicRegistration.contentType=application/jose dynamicRegistration.audience`,
  },
  {
    file: 'journeys/dynamic-registration',
    title: 'the gateway registers by a software statement, and %s certifies it with the issued client ID',
    switches: `dynamicRegistration.contentType=application/jwt`,
  },
  {
    file: 'journeys/sign-in-steps',
    title: 'the page waits, and the platform gets its code once the consent is valid',
    switches: `sca=DECOUPLED waiting.pollAfterSeconds`,
  },
  {
    file: 'journeys/sign-in-steps',
    title: 'the customer states who they are, chooses a method, and enters a wrong and then the right code',
    switches: `sca=EMBEDDED customerIdentification.label`,
  },
]

/** Tests with a script in place of a bank, for switches that no test at a bank uses yet. */
const SCRIPTED: readonly Row[] = [
  {
    file: 'connectors/oauth-profile',
    title:
      'an authorization address that admits no browser is opened by the gateway, and leads to a registered host only',
    switches: `oauth.opensAuthorization`,
  },
  {
    file: 'connectors/obie-members',
    title: "a link below a registered base is followed, and the token goes to the bank's own address only",
    switches: `linkBases`,
  },
  {
    file: 'connectors/message-signing',
    title: 'an event subscription is signed with a detached JWS for the bank that requires it',
    switches: `messageSigning.trustAnchor`,
  },
  {
    file: 'connectors/event-stream',
    title:
      'its configuration is at the well-known address of the issuer, or at the stated one, and read without a token',
    switches: `events.stream.configurationUrl`,
  },
  {
    file: 'connectors/alert-responses',
    title: 'a response reaches a bank of %s as a signed token with one event',
    switches: `alertResponses.url`,
  },
  {
    file: 'connectors/alert-responses',
    title: 'a response has the audience and the token that the registration states',
    switches: `alertResponses.audience alertResponses.scope`,
  },
  {
    file: 'journeys/responding',
    title: 'the answers that the registration of a bank names are offered, and no others',
    switches: `alertResponses.accepts`,
  },
  {
    file: 'connectors/event-polling',
    title: 'the token is used again, and another one is requested with the stated scope after a refusal',
    switches: `events.scope`,
  },
  {
    file: 'connectors/registration-requests',
    title: 'a client that authenticates by its certificate names the subject, and no algorithm of assertions',
    switches: `dynamicRegistration.subjectDn`,
  },
  {
    file: 'connectors/berlin-group-sign-in',
    title: 'a consent that is not valid yet when the customer returns is polled, and no longer than stated',
    switches: `waiting.bankSeconds`,
  },
  {
    file: 'connectors/berlin-group-sign-in',
    title: 'polling ends five minutes after the request, and no poll prolongs it',
    switches: `waiting.customerSeconds`,
  },
  {
    file: 'connectors/berlin-group-profile',
    title: 'a registration is refused at %s if it contradicts itself or leaves the allowed values: %j',
    switches: `needsPassword`,
  },
]

/** Lists of words, and names that are only sent or shown: one test is enough for all of their values. */
const WITHOUT_VALUES = ['customerIdentification.label', 'clientIdHeader']
const STANDARD_IDS = Object.keys(STANDARDS) as StandardId[]

/** Every switch, once for each of its values. */
const switches = new Set(
  STANDARD_IDS.flatMap((id) =>
    leavesOf(STANDARDS[id].registration(ADDRESS)).flatMap(({ path, values }) => {
      const name = path.filter((part) => part !== '0').join('.')
      const hasValues = values.length > 0 && path.at(-1) !== '0' && !WITHOUT_VALUES.includes(name)
      return hasValues ? values.map((value) => `${name}=${value.replaceAll(' ', '+')}`) : [name]
    }),
  ),
)
const namesIn = (rows: readonly Row[]): string[] => rows.flatMap((row) => row.switches.trim().split(/\s+/))
const pathOf = ({ file }: Row): string => join(import.meta.dirname, '..', `${file}.test.ts`)

describe('the switches of registrations', () => {
  test('every switch of a registration, and each of its values, is named with a test', () => {
    const named = new Set([...namesIn(AT_A_BANK), ...namesIn(SCRIPTED)])
    expect([...switches].filter((name) => !named.has(name))).toEqual([])
    expect([...named].filter((name) => !switches.has(name))).toEqual([])
  })

  test.each([...AT_A_BANK, ...SCRIPTED])('the test of switches exists: $title', (row) => {
    expect(existsSync(pathOf(row)), row.file).toBe(true)
    expect(findTitles(row.file, readFileSync(pathOf(row), 'utf8')).map(({ title }) => title)).toContain(row.title)
  })
})
