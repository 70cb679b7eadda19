import { createBrowser, parseChoices, type Page } from '../../src/entrypoints/cli/browser.ts'
import type { CertificationLevel, CertificationRun } from '../../src/modules/banks/model.ts'
import { TEST_CUSTOMER, type SandboxBankId } from '../../src/sandbox/personas.ts'
import { eventually, type TestGateway } from './gateway.ts'
import type { StepwiseBank } from './stepwise-bank.ts'

export const isReturned = ({ pathname }: URL): boolean => pathname === '/certification-returned'

export const failuresOf = ({ checks }: CertificationRun) =>
  checks.filter(({ status }) => status === 'FAILED').map(({ name, code }) => `${name} ${code}`)

/** Signs in as a sandbox bank's test customer and shares everything; stops at the first address for which `isDestination` is true. */
export async function attendInSandbox(
  link: string,
  isDestination = isReturned,
  browser = createBrowser(),
): Promise<Page> {
  const signInPage = await browser.open(`${link}/bank`)
  const accountsPage = await browser.submit(signInPage, [
    ['customer', TEST_CUSTOMER],
    ['password', 'sandbox'],
    ['decision', 'sign-in'],
  ])
  const accounts = parseChoices(accountsPage, 'account').map((account) => ['account', account] as const)
  return browser.submit(accountsPage, [...accounts, ['decision', 'allow']], isDestination)
}

/** Certification runs of a gateway. It is a function of the gateway because tests start theirs later. */
export function certifications(gateway: () => TestGateway) {
  const banksOf = () => gateway().app.services.banks

  /** A draft of the sandbox bank's interface, registered by its partner, which the bank knows about. */
  async function register(bank: SandboxBankId, members: Record<string, unknown> = {}): Promise<string> {
    const origin = gateway().sandbox.banks[bank]
    const given = (await (await fetch(`${origin}/sandbox/registration`)).json()) as {
      standard: string
      registration: object
    }
    const { id, jwks, registration } = await banksOf().register(`${bank}-partner`, {
      ...given,
      registration: { ...given.registration, ...members },
    })
    await fetch(`${origin}/sandbox/clients/${registration.clientId}`, {
      method: 'PUT',
      body: JSON.stringify({ ...(jwks as object), ...gateway().app.bankEndpoints(id) }),
    })
    return id
  }

  /** A draft of a bank that has no sign-in pages of its own. */
  async function registerStepwise({ registration }: StepwiseBank): Promise<string> {
    const input = { standard: 'BERLIN_GROUP', registration } as const
    return (await banksOf().register('rheinbank-partner', input)).id
  }

  /** The run once it has ended. */
  const finished = (runId: string): Promise<CertificationRun> =>
    eventually('the end of the run', async () => {
      const run = await banksOf().findCertificationRun(runId)
      return run?.finishedAt ? run : undefined
    })

  /** Runs a level to its end. */
  async function certify(partner: SandboxBankId, id: string, level: CertificationLevel): Promise<CertificationRun> {
    const { id: runId } = await banksOf().startCertification(`${partner}-partner`, id, level)
    return finished(runId)
  }

  /** Requests an attended run and waits for its link. */
  async function attend(partner: SandboxBankId, id: string): Promise<{ runId: string; link: string }> {
    const { id: runId } = await banksOf().startCertification(`${partner}-partner`, id, 'ATTENDED')
    const link = await eventually('the link', async () => {
      const run = await banksOf().findCertificationRun(runId)
      return (await banksOf().attendedSignIns.signInUrl(run!)) ?? undefined
    })
    return { runId, link }
  }

  const statusOf = async (id: string) => (await banksOf().findConnector(id))!.status

  return { register, registerStepwise, finished, certify, attend, statusOf }
}
