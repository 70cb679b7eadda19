import type { SigningKey } from '../../../connectors/index.ts'
import type { Clock } from '../../../kernel/clock.ts'
import type { Seal } from '../../../storage/seal.ts'
import { toPem } from './keys.ts'
import { credentialContext, credentialInUse, type CredentialKind } from './model.ts'
import type { CredentialStore } from './store.ts'

/** The unsealed credentials in use of one connector; those that it does not have are absent. */
export interface CredentialsInUse {
  readonly signing?: { readonly key: SigningKey; readonly certificate: string } | undefined
  readonly transport?: { readonly key: string; readonly certificate: string } | undefined
  readonly clientSecret?: string | undefined
  /** When the first of them expires. Undefined if none does. */
  readonly validUntil?: Date | undefined
}

/** Unseals the credentials that the gateway uses now for a connector. */
export const createCredentialReader =
  (store: CredentialStore, seal: Seal, clock: Clock) =>
  async (connectorId: string): Promise<CredentialsInUse> => {
    const all = await store.ofConnectors([connectorId])
    const inUse = async (kind: CredentialKind) => {
      const credential = credentialInUse(all, kind, clock.now())
      return (
        credential && {
          ...credential,
          secret: await seal.unseal(credentialContext(credential.id), await store.sealed(credential.id)),
        }
      )
    }
    const signing = await inUse('SIGNING')
    const transport = await inUse('TRANSPORT')
    const secret = await inUse('CLIENT_SECRET')
    const [validUntil] = [signing, transport]
      .flatMap((credential) => credential?.expiresAt ?? [])
      .sort((one, other) => one.getTime() - other.getTime())
    return {
      ...(signing && { signing: { key: signing.secret as SigningKey, certificate: signing.certificateChain! } }),
      ...(transport && {
        transport: { key: toPem(transport.secret as SigningKey), certificate: transport.certificateChain! },
      }),
      ...(secret && { clientSecret: secret.secret as string }),
      validUntil,
    }
  }
