import type { SandboxBank } from './bank.ts'
import { pushDetailViewed } from './alert-events.ts'
import { appPage, customersPage } from './pages.ts'
import type { Routes, SandboxResponse } from './server.ts'

const htmlPage = (body: string): SandboxResponse => ({
  status: 200,
  headers: { 'content-type': 'text/html; charset=utf-8' },
  body,
})

/**
 * The bank's own app, without a sign-in: a customer sees the accounts, the alerts with their detail, and what is frozen. The bank
 * reports to its clients that the customer has seen the detail.
 */
export const appRoutes = (bank: SandboxBank): Routes => ({
  'GET /app': () =>
    htmlPage(customersPage(bank.config.name, [...new Set(bank.config.accounts.flatMap(({ owners }) => owners))])),

  'GET /app/{customer}': async ({ params }) => {
    const customer = params['customer']!
    const accounts = bank.accountsOf(customer)
    const alerts = bank.fraudDesk.alertsAbout(accounts.map(({ id }) => id))
    await Promise.all(alerts.slice(0, MAX_REPORTED).map((jti) => pushDetailViewed(bank, customer, jti)))
    const rows = accounts.map((account) => ({
      label: `${account.kind.toLowerCase()} •••• ${account.number.slice(-4)}`,
      isFrozen: bank.fraudDesk.isFrozen(account.id),
      // The detail is here and nowhere else.
      details: alerts.some((jti) => bank.fraudDesk.accountOf(jti) === account.id)
        ? bank.history(account).at(-1)?.note
        : undefined,
    }))
    return htmlPage(appPage(bank.config.name, customer, rows))
  },
})

/** The alerts, newest first, whose viewing one visit reports. */
const MAX_REPORTED = 10
