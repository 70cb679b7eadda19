import { createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { createSecureContext, TLSSocket } from 'node:tls'

/** A message that the server has accepted. */
export interface AcceptedMail {
  readonly from: string
  readonly to: readonly string[]
  /** Headers and text as they were sent. */
  readonly data: string
  readonly isEncrypted: boolean
  /** Base64 of the credentials, if any were sent. */
  readonly credentials: string | undefined
}

/** A mail server on loopback that delivers nothing (RFC 5321). */
export interface SmtpServer {
  readonly port: number
  readonly mails: AcceptedMail[]
  /** The commands of all connections, in order, without their parameters. */
  readonly commands: string[]
  /** The reply to a command in place of the usual one, such as `451 later`. */
  reply: (command: string) => string | undefined
  close(): void
}

interface Options {
  /** The certificate and key for STARTTLS (RFC 3207); without one it is not offered. */
  readonly certificate?: { readonly chain: string; readonly key: string }
  /** Whether it accepts connections and never says anything. */
  readonly isSilent?: boolean
}

/** Starts a mail server on any free port of 127.0.0.1. */
export async function startSmtpServer({ certificate, isSilent = false }: Options = {}): Promise<SmtpServer> {
  const sockets = new Set<Socket>()
  const server: Server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => undefined).on('close', () => sockets.delete(socket))
    if (isSilent) return
    socket.write('220 mail.test ready\r\n')
    serve(socket, false)
  })

  function serve(socket: Socket, isEncrypted: boolean): void {
    let buffered = ''
    let credentials: string | undefined
    let envelope: { from: string; to: string[] } = { from: '', to: [] }
    let isReadingData = false
    const send = (line: string): void => void socket.write(`${line}\r\n`)

    function handle(line: string): void {
      const command = /^(mail from|rcpt to|\w+)/i.exec(line)?.[1]?.toUpperCase() ?? ''
      smtp.commands.push(command)
      const scripted = smtp.reply(command)
      if (scripted !== undefined) return void send(scripted)
      const address = /<([^>]*)>/.exec(line)?.[1] ?? ''
      if (command === 'EHLO') {
        send('250-mail.test')
        if (certificate && !isEncrypted) send('250-STARTTLS')
        return void send('250 AUTH PLAIN')
      }
      if (command === 'STARTTLS' && certificate && !isEncrypted) {
        socket.removeAllListeners('data')
        socket.write('220 go ahead\r\n', () => {
          const secureContext = createSecureContext({ cert: certificate.chain, key: certificate.key })
          const encrypted = new TLSSocket(socket, { isServer: true, secureContext })
          encrypted.on('error', () => socket.destroy())
          serve(encrypted, true)
        })
        return
      }
      // With 250, the client would go on with the handshake, whose random bytes can look like a command.
      if (command === 'STARTTLS') return void send('502 not offered')
      if (command === 'AUTH') {
        credentials = line.split(' ')[2]
        return void send('235 welcome')
      }
      if (command === 'MAIL FROM') envelope = { from: address, to: [] }
      if (command === 'RCPT TO') envelope.to.push(address)
      if (command === 'DATA') {
        isReadingData = true
        return void send('354 end with a dot')
      }
      send(command === 'QUIT' ? '221 bye' : '250 ok')
      if (command === 'QUIT') socket.end()
    }

    socket.on('data', (chunk: Buffer) => {
      buffered += chunk.toString('latin1')
      for (;;) {
        const end = isReadingData ? '\r\n.\r\n' : '\r\n'
        const position = buffered.indexOf(end)
        if (position < 0) return
        const text = buffered.slice(0, position)
        buffered = buffered.slice(position + end.length)
        if (!isReadingData) {
          handle(text)
          continue
        }
        isReadingData = false
        const scripted = smtp.reply('END OF DATA')
        if (scripted === undefined) smtp.mails.push({ ...envelope, data: text, isEncrypted, credentials })
        send(scripted ?? '250 accepted')
      }
    })
  }

  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const smtp: SmtpServer = {
    port: (server.address() as AddressInfo).port,
    mails: [],
    commands: [],
    reply: () => undefined,
    close() {
      for (const socket of sockets) socket.destroy()
      server.close()
    },
  }
  return smtp
}
