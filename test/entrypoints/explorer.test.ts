import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { explorerRoutes } from '../../src/entrypoints/explorer/index.ts'
import type { HttpRequest } from '../../src/kernel/http.ts'
import { startGateway, type TestGateway } from '../support/gateway.ts'

let gateway: TestGateway
beforeAll(async () => {
  gateway = await startGateway()
})
afterAll(() => gateway.close())

describe('the explorer', () => {
  test('every resource of the explorer comes from the gateway, and none is inline', async () => {
    const page = await fetch(`${gateway.issuer}/explorer`)
    expect(page.status).toBe(200)
    const policy = page.headers.get('content-security-policy')!
    expect(policy).toContain("default-src 'none'")
    expect(policy).not.toMatch(/unsafe|\*|https?:/)
    const html = await page.text()
    expect(html).not.toMatch(/ style=| on\w+=|<style|<script(?! type="module" src=)/)
    const links = [...html.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, link]) => link!)
    expect(links.length).toBeGreaterThan(2)
    for (const link of links) {
      expect(link.startsWith('/')).toBe(true)
      expect((await fetch(`${gateway.issuer}${link}`)).status).toBe(200)
    }
    for (const name of ['browser.mjs', 'style.css'])
      expect(await (await fetch(`${gateway.issuer}/explorer/${name}`)).text()).not.toMatch(/https?:\/\//)
  })

  test('the explorer signs as a sandbox client that has only scopes for customer data', async () => {
    const client = (await (await fetch(`${gateway.issuer}/explorer/client.json`)).json()) as { clientId: string }
    expect(client.clientId).toBe('explorer')
    const { scopes } = (await gateway.app.services.clients.find('explorer'))!
    expect(scopes.every((scope) => /^(accounts|balances|alerts):/.test(scope))).toBe(true)
  })

  test('the explorer has no client and no key outside the sandbox', async () => {
    const route = explorerRoutes({ sandboxClient: undefined }).find(({ path }) => path === '/explorer/client.json')!
    await expect(Promise.resolve().then(() => route.handle({} as HttpRequest))).rejects.toMatchObject({
      code: 'NOT_FOUND',
    })
  })

  test('every example of the explorer succeeds without changes', async () => {
    const script = await (await fetch(`${gateway.issuer}/explorer/browser.mjs`)).text()
    const list = /const EXAMPLES = (\[[\s\S]*?\n\])\n/.exec(script)![1]!
    // The page's own text, read as the page reads it.
    const examples = (await import(`data:text/javascript,export default ${encodeURIComponent(list)}`)) as {
      default: [string, string][]
    }
    const token = await gateway.customer('ada', ['northbank', 'rheinbank'], {
      scopes: ['accounts:read', 'balances:threshold', 'balances:band', 'balances:exact', 'alerts:read'],
    })
    expect(examples.default.length).toBeGreaterThan(5)
    for (const [name, query] of examples.default) {
      const { errors } = await gateway.ask(token, query)
      expect([name, errors]).toEqual([name, undefined])
    }
  })
})
