import { existsSync, writeFileSync } from 'node:fs'
import { defineCommand } from '../command.ts'
import { UsageError } from '../errors.ts'
import { mutate, requestClientToken } from '../graph.ts'
import { argument, AS_PARTNER, file, requiredChoice, requiredFile, requiredText, text } from '../inputs.ts'
import { record } from '../view.ts'
import { CONNECTOR_ID } from './connectors.ts'
import { readTextFile } from './registration.ts'

const FIELDS = 'id use status keyId certificateRequest subject issuer fingerprint expiresAt'
const RECORD = {
  ID: 'id',
  USE: 'use',
  STATUS: 'status',
  'KEY ID': 'keyId',
  SUBJECT: 'subject',
  ISSUER: 'issuer',
  'SHA-256': 'fingerprint',
  EXPIRES: 'expiresAt',
  REQUEST: 'certificateRequest',
}
const USE = requiredChoice('--use <use>', 'what the certificate is for', ['TRANSPORT', 'SIGNING'])
const SCOPES = 'connectors:manage connectors:read'

/** The certificates and secrets with which the gateway authenticates to a bank. */
export const CERTIFICATE_COMMANDS = [
  defineCommand({
    name: 'connectors request-certificate',
    description: 'Create a key and print the request for a certificate, which an authority issues.',
    arguments: { connectorId: CONNECTOR_ID },
    options: {
      as: AS_PARTNER,
      use: USE,
      commonName: requiredText('--common-name <name>', 'the common name of the subject'),
      organization: text('--organization <name>', 'the organization of the subject'),
      organizationIdentifier: text('--organization-identifier <id>', 'such as PSDGB-FCA-123456'),
      country: text('--country <code>', 'the country of the subject, such as GB'),
      licensingAuthorityName: text(
        '--authority-name <name>',
        'who licensed the operator, for a certificate under PSD2',
      ),
      licensingAuthorityId: text('--authority-id <id>', 'the ID of that authority, such as GB-FCA'),
      out: file('--out <request.pem>', 'a new file for the request'),
    },
    examples: [
      'guichet connectors request-certificate <connector id> --as <client> --use TRANSPORT --common-name guichet.example --out request.pem',
    ],
    json: `{ ${FIELDS} }`,
    view: record(RECORD),
    async run(context, { connectorId, as, out, ...input }) {
      if (out !== undefined && existsSync(out)) throw new UsageError(`--out ${out} exists already`)
      const token = await requestClientToken(context, as, SCOPES)
      const fields = `certificate { ${FIELDS} }`
      const result = await mutate(context, token, 'requestCertificate', { connectorId, ...input }, fields)
      const { certificateRequest } = result as { readonly certificateRequest: string }
      if (out !== undefined) writeFileSync(out, certificateRequest, { flag: 'wx' })
      return result
    },
  }),
  defineCommand({
    name: 'connectors upload-certificate',
    description:
      'Store an issued certificate with its chain, and its key unless the gateway made it. It is used at once.',
    arguments: { connectorId: CONNECTOR_ID },
    options: {
      as: AS_PARTNER,
      use: USE,
      chainFile: requiredFile('--chain <chain.pem>', 'the certificate and its chain, the own certificate first'),
      keyFile: file('--key <key.pem>', 'the private key, if the gateway did not make it'),
      keyId: text('--key-id <id>', 'the key ID that a directory assigned'),
    },
    examples: ['guichet connectors upload-certificate <connector id> --as <client> --use TRANSPORT --chain chain.pem'],
    json: `{ ${FIELDS} }`,
    view: record(RECORD),
    async run(context, { connectorId, as, use, chainFile, keyFile, keyId }) {
      const certificateChain = readTextFile(chainFile)
      const privateKey = keyFile === undefined ? undefined : readTextFile(keyFile)
      const token = await requestClientToken(context, as, SCOPES)
      const input = { connectorId, use, certificateChain, privateKey, keyId }
      return mutate(context, token, 'uploadCertificate', input, `certificate { ${FIELDS} }`)
    },
  }),
  defineCommand({
    name: 'connectors retire-certificate',
    description: 'Retire a certificate that is no longer in use: its key is published no more.',
    arguments: { certificateId: argument('<certificate-id>', 'ID of the certificate, see connectors show') },
    options: { as: AS_PARTNER },
    examples: ['guichet connectors retire-certificate <certificate id> --as <client>'],
    json: `{ ${FIELDS} }`,
    view: record(RECORD),
    async run(context, { certificateId, as }) {
      const token = await requestClientToken(context, as, SCOPES)
      return mutate(context, token, 'retireCertificate', { certificateId }, `certificate { ${FIELDS} }`)
    },
  }),
  defineCommand({
    name: 'connectors set-client-secret',
    description: 'Store the client secret that the bank assigned, from a file. It is sealed and never shown.',
    arguments: { connectorId: CONNECTOR_ID },
    options: { as: AS_PARTNER, secretFile: requiredFile('--file <secret.txt>', 'the file with the secret') },
    examples: ['guichet connectors set-client-secret <connector id> --as <client> --file secret.txt'],
    json: '{ id hasClientSecret }',
    view: record({ ID: 'id', 'CLIENT SECRET': 'hasClientSecret' }),
    async run(context, { connectorId, as, secretFile }) {
      const clientSecret = readTextFile(secretFile).trim()
      const token = await requestClientToken(context, as, SCOPES)
      return mutate(
        context,
        token,
        'setClientSecret',
        { connectorId, clientSecret },
        'connector { id hasClientSecret }',
      )
    },
  }),
]
