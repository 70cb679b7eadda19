import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { calculateJwkThumbprint, exportJWK, generateKeyPair, importJWK, SignJWT, type JWK } from 'jose'
import { defineCommand } from '../command.ts'
import { CommandError, formatFault, type Fault } from '../errors.ts'
import { file, textWithDefault } from '../inputs.ts'
import { record } from '../view.ts'

const SECRET_FILE = 'admin-enrollment-secret'
const RECOVER_COMMAND = 'npx guichet admin recover'

/** The first admin, and another one when all keys are lost. */
export const ADMIN_COMMANDS = [
  defineCommand({
    name: 'admin bootstrap',
    description:
      'Create a key and register it as an admin, with the one-time secret that the first start or a recovery wrote.',
    options: {
      secretFile: file(
        '--secret-file <file>',
        `the secret (default: GUICHET_BOOTSTRAP_SECRET, or ${SECRET_FILE} in the data folder)`,
      ),
      keyFile: file(
        '--key-file <file>',
        'where the private key is written (default: clients/admin.json in the data folder)',
      ),
      name: textWithDefault('--name <name>', 'the name of the client', 'Admin'),
      organization: textWithDefault('--organization <name>', 'the organization that operates the gateway', 'Operator'),
    },
    examples: [
      'guichet admin bootstrap --gateway https://gateway.example --secret-file /data/admin-enrollment-secret --name Ann',
    ],
    json: '{ clientId organizationId scopes keyFile next }',
    view: record({
      'CLIENT ID': 'clientId',
      'ORGANIZATION ID': 'organizationId',
      SCOPES: 'scopes',
      'KEY FILE': 'keyFile',
      NEXT: 'next',
    }),
    async run({ issuer, dataDir }, { secretFile, keyFile, name, organization }) {
      const secret = readSecret(dataDir, secretFile)
      const keyPath = resolve(keyFile ?? join(dataDir, 'clients', 'admin.json'))
      if (existsSync(keyPath))
        throw new CommandError(
          `${keyPath} exists and is not overwritten: name another with --key-file, or move it away`,
        )
      const key = await generateKey()
      reserveKeyFile(keyPath)
      try {
        const enrolled = await enrolAdmin(issuer, secret, key, { name, organization })
        const { clientId, scopes } = enrolled
        writeFileSync(keyPath, JSON.stringify({ clientId, issuer, scopes, key }))
        deleteSecretFile(secretFile ?? join(dataDir, SECRET_FILE))
        const asOption = keyFile === undefined ? '' : ` --as ${keyFile}`
        return { ...enrolled, keyFile: keyPath, next: `npx guichet clients list${asOption}` }
      } catch (error) {
        rmSync(keyPath, { force: true })
        throw error
      }
    },
  }),
  defineCommand({
    name: 'admin recover',
    description:
      'Open a new enrollment of an admin. Needs access to the database (DATABASE_URL) or to the data folder of an embedded one.',
    examples: ['DATABASE_URL=postgresql://… guichet admin recover --gateway https://gateway.example'],
    json: '{ secretFile expiresAt next }',
    view: record({ 'SECRET FILE': 'secretFile', EXPIRES: 'expiresAt', NEXT: 'next' }),
    async run({ issuer, dataDir }) {
      const enrollment = await openEnrollment(dataDir)
      const next = `npx guichet admin bootstrap --gateway ${issuer} --secret-file '${enrollment.secretFile}'`
      return { ...enrollment, next }
    },
  }),
]

interface Enrollment {
  readonly secretFile: string
  readonly expiresAt: string
}

/** Runs src/recovery.ts, which works on the database itself: no other command does. */
const openEnrollment = (dataDir: string): Promise<Enrollment> =>
  new Promise((fulfill, reject) => {
    const child = spawn(process.execPath, [join(import.meta.dirname, '../../../recovery.ts')], {
      env: { ...process.env, GUICHET_DATA_DIR: dataDir },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let [out, err] = ['', '']
    child.stdout.setEncoding('utf8').on('data', (text: string) => (out += text))
    child.stderr.setEncoding('utf8').on('data', (text: string) => (err += text))
    child.once('error', reject)
    child.once('close', (code) =>
      code === 0 ? fulfill(JSON.parse(out) as Enrollment) : reject(new CommandError(err.trim().split('\n'))),
    )
  })

/** The secret of the named file, the environment, or the data folder, in this order. */
function readSecret(dataDir: string, namedFile: string | undefined): string {
  const defaultFile = join(dataDir, SECRET_FILE)
  if (namedFile === undefined && process.env['GUICHET_BOOTSTRAP_SECRET']) return process.env['GUICHET_BOOTSTRAP_SECRET']
  const path = namedFile ?? defaultFile
  if (namedFile === undefined && !existsSync(path))
    throw new CommandError(
      `no enrollment secret: name its file with --secret-file, set GUICHET_BOOTSTRAP_SECRET, or set GUICHET_DATA_DIR to the gateway's folder (there is no ${defaultFile})`,
    )
  try {
    return readFileSync(path, 'utf8').trim()
  } catch (error) {
    throw new CommandError(
      `${path} cannot be read (${String((error as NodeJS.ErrnoException).code)}): it belongs to the account that the gateway runs as`,
    )
  }
}

/** A used secret opens nothing, so a failure to delete it does no harm. */
function deleteSecretFile(path: string): void {
  try {
    rmSync(path, { force: true })
  } catch {
    // The folder belongs to another account.
  }
}

/** Creates the file first, so that a key that cannot be written does not use up the secret. */
function reserveKeyFile(keyFile: string): void {
  try {
    mkdirSync(dirname(keyFile), { recursive: true, mode: 0o700 })
    writeFileSync(keyFile, '', { mode: 0o600, flag: 'wx' })
  } catch (error) {
    throw new CommandError(
      `${keyFile} cannot be written (${(error as NodeJS.ErrnoException).code}): name another with --key-file`,
    )
  }
}

async function generateKey(): Promise<JWK> {
  const { privateKey } = await generateKeyPair('ES256', { extractable: true })
  const key = await exportJWK(privateKey)
  return { ...key, kid: (await calculateJwkThumbprint(key)).slice(0, 16), alg: 'ES256', use: 'sig' }
}

interface EnrolledAdmin {
  readonly clientId: string
  readonly organizationId: string
  readonly scopes: readonly string[]
}

async function enrolAdmin(
  issuer: string,
  secret: string,
  key: JWK,
  names: { readonly name: string; readonly organization: string },
): Promise<EnrolledAdmin> {
  const { protocol, hostname } = new URL(issuer)
  if (protocol !== 'https:' && !/^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(hostname))
    throw new CommandError(`the secret is not sent to ${issuer} in plain text: name its https URL with --gateway`)
  const { d: _private, ...jwk } = key
  const proof = await new SignJWT({})
    .setProtectedHeader({ alg: 'ES256', typ: 'admin-enrollment+jwt', jwk })
    .setAudience(issuer)
    .setSubject(createHash('sha256').update(secret).digest('base64url'))
    .sign(await importJWK(key, 'ES256'))
  const response = await fetch(`${issuer}/admin/bootstrap`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ secret, proof, ...names }),
    redirect: 'error',
  })
  const body = (await response.json().catch(() => undefined)) as
    (EnrolledAdmin & { readonly error?: Omit<Fault, 'path'> & Partial<Pick<Fault, 'path'>> }) | undefined
  if (response.status === 201 && body) return body
  throw new CommandError(describeRefusal(issuer, response.status, body?.error))
}

function describeRefusal(
  issuer: string,
  status: number,
  error: (Omit<Fault, 'path'> & Partial<Fault>) | undefined,
): string {
  if (status === 404)
    return `${issuer} accepts no admin for this secret: it was used, has expired (a restart of an empty gateway writes another), or belongs to another installation; with access to the database: ${RECOVER_COMMAND}`
  if (status === 429) return `${issuer} accepts 10 attempts per minute from one address: wait a minute and try again`
  if (error === undefined) return `${issuer} does not respond as a gateway does: HTTP status ${status}`
  return formatFault({ path: [], ...error })
}
