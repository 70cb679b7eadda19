/** A private JWK (RFC 7517). Keys of earlier versions have no `alg` and are for ES256. */
export interface SigningKey extends Readonly<Record<string, unknown>> {
  readonly kty: string
  readonly kid: string
  readonly alg?: string
}

/** The keys, certificates and secrets with which the gateway authenticates to one bank. They are stored sealed. */
export interface GatewayCredentials {
  /** The private JWK that signs client assertions, request objects and messages, with `kid` and `alg`. */
  readonly signingKey: SigningKey
  /** The certificate of the signing key and its chain, in PEM, the leaf first. Undefined if nobody issued one. */
  readonly signingCertificate?: string | undefined
  /** The secret of `client_secret_basic` and `client_secret_post`. Undefined if there is none. */
  readonly clientSecret?: string | undefined
}
