import { SANDBOX_PASSWORD } from './personas.ts'

/** What the customer does at the bank: agrees, refuses, or closes the page. */
export type Decision = 'ALLOW' | 'CANCEL' | 'ABANDON'

/** Completes the bank's sign-in pages, starting at `url`. Returns the callback URL, or null if the sign-in was not completed. */
export async function completeBankSignIn(url: string, customer: string, decision: Decision): Promise<string | null> {
  const { origin } = new URL(url)
  const signInPage = await (await fetch(url, { redirect: 'manual' })).text()
  const session = /name="session" value="([^"]+)"/.exec(signInPage)?.[1]
  if (!session || decision === 'ABANDON') return null
  const submit = (path: string, fields: [string, string][]) =>
    fetch(`${origin}${path}`, {
      method: 'POST',
      body: new URLSearchParams([['session', session], ...fields]),
      redirect: 'manual',
    })
  if (decision === 'CANCEL') return (await submit('/sign-in', [['decision', 'cancel']])).headers.get('location')
  const accountsPage = await submit('/sign-in', [
    ['customer', customer],
    ['password', SANDBOX_PASSWORD],
    ['decision', 'sign-in'],
  ])
  const accounts = [...(await accountsPage.text()).matchAll(/name="account" value="([^"]+)"/g)]
  const accountFields = accounts.map(([, id]): [string, string] => ['account', id!])
  return (await submit('/choose', [...accountFields, ['decision', 'allow']])).headers.get('location')
}
