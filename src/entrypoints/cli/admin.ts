import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { calculateJwkThumbprint, exportJWK, generateKeyPair, importJWK, SignJWT, type JWK } from 'jose'
import type { Command, Options, CommandContext } from './command.ts'
import { CommandError } from './errors.ts'

const SECRET_FILE = 'admin-enrolment-secret'
const RECOVER = 'npx guichet admin recover'

/** How the first admin comes to be, and another when all are lost. */
export const ADMIN_COMMANDS: Readonly<Record<string, Command>> = {
  'admin bootstrap': {
    usage:
      'admin bootstrap [--gateway <url>] [--secret-file <file>] [--key-file <file>] [--name <name>] [--organization <name>]',
    description:
      'makes a key and registers it as an admin, by the one-time secret that the first start or a recovery wrote',
    async run(context, _args, options) {
      const secret = readSecret(context, options)
      const keyFile = resolve(options['key-file'] ?? join(context.dataDir, 'clients', 'admin.json'))
      if (existsSync(keyFile))
        throw new CommandError(`${keyFile} exists and is not overwritten: name another by --key-file, or move it away`)
      const key = await generateKey()
      reserveKeyFile(keyFile)
      try {
        const enrolled = await enrolAdmin(context.issuer, secret, key, options)
        const file = { clientId: enrolled.clientId, issuer: context.issuer, scopes: enrolled.scopes, key }
        writeFileSync(keyFile, JSON.stringify(file))
        deleteSecretFile(context, options)
        const asOption = options['key-file'] === undefined ? '' : ` --as ${options['key-file']}`
        return { ...enrolled, keyFile, next: `npx guichet clients list${asOption}` }
      } catch (error) {
        rmSync(keyFile, { force: true })
        throw error
      }
    },
  },
  'admin recover': {
    usage: 'admin recover',
    description: 'opens a new enrolment of an admin, by whoever reaches the database (DATABASE_URL) or the data folder',
    run: (context) =>
      new Promise((fulfill, reject) => {
        // It works on the database itself, which no command does through the gateway.
        const child = spawn(process.execPath, [join(import.meta.dirname, '../../recovery.ts')], {
          env: { ...process.env, GUICHET_DATA_DIR: context.dataDir },
          stdio: ['ignore', 'pipe', 'pipe'],
        })
        let [out, err] = ['', '']
        child.stdout.setEncoding('utf8').on('data', (text: string) => (out += text))
        child.stderr.setEncoding('utf8').on('data', (text: string) => (err += text))
        child.once('error', reject)
        child.once('close', (code) => {
          if (code !== 0) return void reject(new CommandError(err.trim()))
          const enrolment = JSON.parse(out) as { secretFile: string; expiresAt: string }
          const command = `npx guichet admin bootstrap --gateway ${context.issuer} --secret-file '${enrolment.secretFile}'`
          fulfill({ ...enrolment, next: command })
        })
      }),
  },
}

/** From the file that is named, the environment, or the data folder, in this order. */
function readSecret({ dataDir }: CommandContext, options: Options): string {
  const defaultFile = join(dataDir, SECRET_FILE)
  const namedFile = options['secret-file']
  if (namedFile === undefined && process.env['GUICHET_BOOTSTRAP_SECRET']) return process.env['GUICHET_BOOTSTRAP_SECRET']
  const file = namedFile ?? defaultFile
  if (namedFile === undefined && !existsSync(file))
    throw new CommandError(
      `no enrolment secret: name its file by --secret-file, set GUICHET_BOOTSTRAP_SECRET, or set GUICHET_DATA_DIR to the gateway's folder (there is no ${defaultFile})`,
    )
  try {
    return readFileSync(file, 'utf8').trim()
  } catch (error) {
    throw new CommandError(
      `${file} cannot be read (${(error as NodeJS.ErrnoException).code}): it belongs to the account that the gateway runs as`,
    )
  }
}

/** Once used the secret opens nothing; its file is only in the way. */
function deleteSecretFile({ dataDir }: CommandContext, options: Options): void {
  try {
    rmSync(options['secret-file'] ?? join(dataDir, SECRET_FILE), { force: true })
  } catch {
    // Somebody else's folder.
  }
}

/** Makes sure that the key can be written before the secret is used up. */
function reserveKeyFile(keyFile: string): void {
  try {
    mkdirSync(dirname(keyFile), { recursive: true, mode: 0o700 })
    writeFileSync(keyFile, '', { mode: 0o600, flag: 'wx' })
  } catch (error) {
    throw new CommandError(
      `${keyFile} cannot be written (${(error as NodeJS.ErrnoException).code}): name another by --key-file`,
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
  { name, organization }: Options,
): Promise<EnrolledAdmin> {
  const { protocol, hostname } = new URL(issuer)
  if (protocol !== 'https:' && !/^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(hostname))
    throw new CommandError(`the secret is not sent to ${issuer} in plain text: name its https address by --gateway`)
  const { d: _private, ...jwk } = key
  const proof = await new SignJWT({})
    .setProtectedHeader({ alg: 'ES256', typ: 'admin-enrollment+jwt', jwk })
    .setAudience(issuer)
    .setSubject(createHash('sha256').update(secret).digest('base64url'))
    .sign(await importJWK(key, 'ES256'))
  const response = await fetch(`${issuer}/admin/bootstrap`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ secret, proof, name: name ?? 'Admin', organization: organization ?? 'Operator' }),
    redirect: 'error',
  })
  const body = (await response.json().catch(() => undefined)) as
    (EnrolledAdmin & { error?: { code: string; path?: string[]; message: string } }) | undefined
  if (response.status === 201 && body) return body
  if (response.status === 404)
    throw new CommandError(
      `${issuer} takes no admin for this secret: it was used, has expired (a restart of an empty gateway writes another), or belongs to another installation; with access to the database: ${RECOVER}`,
    )
  if (response.status === 429)
    throw new CommandError(`${issuer} takes 10 attempts per minute from one address: wait a minute and try again`)
  const { code, path, message } = body?.error ?? {
    code: `HTTP ${response.status}`,
    path: undefined,
    message: 'no answer of a gateway',
  }
  throw new CommandError(`${code}${path ? ` at ${path.join('.')}` : ''}: ${message}`)
}
