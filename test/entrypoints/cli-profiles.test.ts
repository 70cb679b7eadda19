import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { bankProfiles } from '../../src/connectors/index.ts'
import { commandLineOf } from '../support/command-line.ts'
import { startGateway, type TestGateway } from '../support/gateway.ts'

let gateway: TestGateway
beforeAll(async () => {
  gateway = await startGateway()
})
afterAll(() => gateway.close())

const { guichet } = commandLineOf(() => gateway)
const register = (words: string) => guichet(`connectors register --as eastbank-partner ${words} --dry-run`)

describe('profiles on the command line', () => {
  test('a dry run shows the sign-in, what is needed with its command, the notes and sources, and every request', async () => {
    const { code, out, err } = await register('--profile nationwide --client-id one')
    expect([code, err]).toEqual([0, ''])
    expect(out).toMatch(/^ACCEPTABLE +yes$/m)
    expect(out).toMatch(/^SIGN-IN +code id_token, signed \(PS256\) request, response in the fragment$/m)
    expect(out).toMatch(/^TRIED AT BANK +-$/m)
    expect(out).toMatch(/^Still needed\n {2}TRANSPORT_CERTIFICATE: .*guichet connectors request-certificate/m)
    const { notes, evidence } = bankProfiles().get('nationwide')!
    for (const text of [...notes, ...evidence.map(({ source }) => source)]) expect(out).toContain(`\n  ${text}`)
    expect(out).toMatch(
      /^ {2}createConsent\n {4}POST https:\S+\/account-access-consents\n {4}authentication: bearer token\n {4}headers: authorization, /m,
    )
    expect(out).not.toContain('To be stated')
  })

  test('a dry run with members that are to be stated names them and exits with 1, until a file states them', async () => {
    const members = bankProfiles().get('mx')!.operatorStates
    expect(members.length).toBeGreaterThan(0)
    const open = await register('--profile mx')
    expect([open.code, open.err]).toEqual([1, `cannot be registered: state ${members.join(', ')} in --file\n`])
    expect(open.out).toMatch(/^ACCEPTABLE +no$/m)
    for (const member of members) expect(open.out).toContain(`\n  ${member}\n`)

    const file = join(gateway.dataDir, 'members.json')
    const stated = {
      bank: { id: 'mxbank', name: 'MX bank', country: 'US' },
      authorizationServer: 'https://auth.mxbank.example',
      apiBase: 'https://api.mxbank.example/fdx/v4',
    }
    writeFileSync(file, JSON.stringify({ registration: stated }))
    const complete = await register(`--profile mx --file ${file}`)
    expect([complete.code, complete.err]).toEqual([0, ''])
    expect(complete.out).toContain('\n    GET https://api.mxbank.example/fdx/v4/accounts\n')
  })

  test('a profile is shown with what it leaves to the operator, its sources and its members', async () => {
    const { code, out } = await guichet('connectors profile mx --as eastbank-partner')
    expect(code).toBe(0)
    expect(out).toContain('\nTo be stated by the operator\n  ')
    expect(out).toContain(`\nSources\n  ${bankProfiles().get('mx')!.evidence[0]!.source}`)
    expect(await guichet('connectors profile mxx --as eastbank-partner')).toMatchObject({
      code: 1,
      out: '',
      err: 'there is no profile mxx: see guichet connectors profiles\n',
    })
  })
})
