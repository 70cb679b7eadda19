import { SANDBOX_PASSWORD } from './people.ts'

/** What a customer does at their bank: agrees, says no, or closes the page. */
export type Decision = 'ALLOW' | 'CANCEL' | 'ABANDON'

/** Goes through the sign-in pages that begin at `url`; returns where the bank sends the customer back, or nothing. */
export async function walkThrough(url: string, customer: string, decision: Decision): Promise<string | null> {
  const { origin } = new URL(url)
  const first = await (await fetch(url, { redirect: 'manual' })).text()
  const session = /name="session" value="([^"]+)"/.exec(first)?.[1]
  if (!session || decision === 'ABANDON') return null
  const post = (path: string, fields: [string, string][]) =>
    fetch(`${origin}${path}`, {
      method: 'POST',
      body: new URLSearchParams([['session', session], ...fields]),
      redirect: 'manual',
    })
  if (decision === 'CANCEL') return (await post('/sign-in', [['decision', 'cancel']])).headers.get('location')
  const choice = await post('/sign-in', [
    ['customer', customer],
    ['password', SANDBOX_PASSWORD],
    ['decision', 'sign-in'],
  ])
  const accounts = [...(await choice.text()).matchAll(/name="account" value="([^"]+)"/g)]
  const chosen = accounts.map(([, id]): [string, string] => ['account', id!])
  return (await post('/choose', [...chosen, ['decision', 'allow']])).headers.get('location')
}
