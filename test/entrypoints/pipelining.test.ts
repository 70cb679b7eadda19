import { createServer } from 'node:http'
import { connect, type AddressInfo } from 'node:net'
import { expect, test } from 'vitest'
import { createPipelineQueue } from '../../src/entrypoints/pipelining.ts'

test('a connection with endless requests is read only as fast as it is served', async () => {
  const COUNT = 60_000
  const inTurn = createPipelineQueue()
  let [received, served, mostWaiting] = [0, 0, 0]
  const server = createServer((request, response) => {
    mostWaiting = Math.max(mostWaiting, ++received - served)
    inTurn(request.socket, response, () => {
      served++
      response.end()
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1')
  socket.resume().write('GET / HTTP/1.1\r\nhost: x\r\n\r\n'.repeat(COUNT))
  await expect.poll(() => served, { timeout: 60_000, interval: 100 }).toBe(COUNT)
  // A read brings 64 KiB of these requests, and each of the four responses under way may let one more through.
  expect(mostWaiting).toBeLessThan((5 * 65_536) / 26)
  socket.destroy()
  server.close()
})
