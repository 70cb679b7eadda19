import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { accepts } from './ports.ts'
import { eventually } from './gateway.ts'

const PROGRAM = ['/usr/sbin/nginx', '/usr/bin/nginx', '/usr/local/bin/nginx', '/opt/homebrew/bin/nginx'].find(
  existsSync,
)
const CONF = join(import.meta.dirname, '../../docker/nginx.conf')

/** False where the tests on nginx are left out: on a machine without it. In CI they run, and fail without it. */
export const HAS_NGINX = PROGRAM !== undefined || process.env['CI'] === 'true'
if (!HAS_NGINX) process.stderr.write('nginx is not installed: the tests of docker/nginx.conf are skipped\n')

/** The port for TLS and the certificate of the server. */
export interface NginxTls {
  readonly port: number
  readonly certificate: string
  readonly key: string
}

/** A running nginx. */
export interface Nginx {
  readonly port: number
  stop(): Promise<void>
}

/**
 * A real nginx with the configuration that is shipped, of which only the ports, the place of its pid file and, where given,
 * the timeout of responses are others. With `tls`, it also listens on a port for TLS and asks clients for a certificate.
 */
export async function startNginx(
  port: number,
  upstreams: readonly [number, number],
  readTimeout = '30s',
  tls?: NginxTls,
): Promise<Nginx> {
  if (!PROGRAM) throw new Error('nginx is not installed: apt-get install nginx-light')
  const folder = mkdtempSync(join(tmpdir(), 'guichet-nginx-'))
  const changes: readonly (readonly [from: string, to: string, times: number])[] = [
    ['listen 4000', `listen 127.0.0.1:${port}`, 2],
    ['server 127.0.0.1:4011', `server 127.0.0.1:${upstreams[0]}`, 1],
    ['server 127.0.0.1:4012', `server 127.0.0.1:${upstreams[1]}`, 1],
    ['pid /tmp/nginx.pid', `pid ${folder}/nginx.pid`, 1],
    ['worker_processes auto', 'worker_processes 1', 1],
    ['proxy_read_timeout 30s', `proxy_read_timeout ${readTimeout}`, 1],
  ]
  let conf = readFileSync(CONF, 'utf8')
  for (const [from, to, times] of changes) {
    if (conf.split(from).length - 1 !== times)
      throw new Error(`docker/nginx.conf does not have "${from}" ${times} times`)
    conf = conf.replaceAll(from, to)
  }
  if (tls) conf = conf.replace('server_name localhost;', (line) => `${line}\n${tlsDirectives(folder, tls)}`)
  const file = join(folder, 'nginx.conf')
  writeFileSync(file, conf)
  const child = spawn(PROGRAM, ['-p', folder, '-e', 'stderr', '-c', file, '-g', 'daemon off;'], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  let output = ''
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => (output += chunk))
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  await eventually('nginx to listen', () => {
    if (child.exitCode !== null) throw new Error(`nginx ended: ${output}`)
    return accepts(port)
  })
  return {
    port,
    async stop() {
      child.kill('SIGTERM')
      await ended
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

/** What an operator adds so that nginx terminates TLS, as in docs/OPERATE.md. */
function tlsDirectives(folder: string, { port, certificate, key }: NginxTls): string {
  writeFileSync(join(folder, 'certificate.pem'), certificate)
  writeFileSync(join(folder, 'key.pem'), key)
  return [
    `listen 127.0.0.1:${port} ssl;`,
    `ssl_certificate ${folder}/certificate.pem;`,
    `ssl_certificate_key ${folder}/key.pem;`,
    'ssl_verify_client optional_no_ca;',
  ].join('\n')
}
