import { defineCommand, type CommandContext } from '../command.ts'
import { CommandError } from '../errors.ts'
import { mutate, queryField, requestClientToken } from '../graph.ts'
import { argument, AS_PARTNER, choice } from '../inputs.ts'
import type { Token } from '../oauth-client.ts'
import { record } from '../view.ts'

/** Fields of a certification run. */
export const RUN_FIELDS =
  'id level trigger status signInUrl startedAt finishedAt checks { name status code failureCause durationMs } failureCode signedReport'
/** Levels of certification, in the spelling of the command line. */
const LEVELS = ['static', 'attended', 'automatic'] as const
const POLL_MS = 250
/** A run takes seconds, besides the 30 minutes for which it waits for a person. */
const TIMEOUT_MS = 33 * 60_000

interface Check {
  readonly name: string
  readonly status: 'PASSED' | 'FAILED' | 'SKIPPED'
  readonly code: string | null
  readonly failureCause: string | null
  readonly durationMs: number | null
}

interface CertificationRun {
  readonly id: string
  readonly status: 'RUNNING' | 'PASSED' | 'FAILED'
  readonly signInUrl: string | null
  readonly checks: readonly Check[]
  readonly failureCode: string | null
}

/** Tests of a bank's interface. */
export const CERTIFICATION_COMMANDS = [
  defineCommand({
    name: 'connectors certify',
    description:
      "Test a bank's interface from its metadata to the end of a consent. Each check is shown on stderr when it has finished. A run of the level attended prints a link at which a person signs in. A connector that passes above the level static is CERTIFIED.",
    arguments: { connectorId: argument('<connector-id>', 'ID of the connector') },
    options: {
      as: AS_PARTNER,
      level: choice(
        '--level <level>',
        'How much the run shows; by default automatic with a test interface, attended without one',
        LEVELS,
      ),
    },
    examples: [
      'guichet connectors certify <connector id> --as eastbank-partner',
      'guichet connectors certify <connector id> --as eastbank-partner --level static',
    ],
    json: `{ id status bank { id } certificationRun { ${RUN_FIELDS} } }, also if a check failed`,
    view: record({
      ID: 'id',
      BANK: 'bank.id',
      STATUS: 'status',
      RUN: 'certificationRun.id',
      LEVEL: 'certificationRun.level',
      'RUN STATUS': 'certificationRun.status',
      STARTED: 'certificationRun.startedAt',
      FINISHED: 'certificationRun.finishedAt',
    }),
    async run(context, { connectorId, as, level }) {
      const token = await requestClientToken(context, as, 'connectors:manage connectors:read')
      const input = { connectorId, ...(level && { level: level.toUpperCase() }) }
      const started = await mutate(context, token, 'startCertification', input, 'certificationRun { id }')
      const certificationRun = await awaitRun(context, token, (started as { id: string }).id)
      const query = 'query ($id: ID!) { connector(id: $id) { id status bank { id } } }'
      const connector = (await queryField(context, token, query, 'connector', { id: connectorId })) as object
      const result = { ...connector, certificationRun }
      if (certificationRun.status !== 'PASSED') throw new CommandError(describeFailure(certificationRun), result)
      return result
    },
  }),
]

/** Waits for the end of the run. Reports each check when it has finished, and the link for the person who attends the run. */
async function awaitRun(context: CommandContext, token: Token, id: string): Promise<CertificationRun> {
  const deadlineMs = Date.now() + TIMEOUT_MS
  const query = `query ($id: ID!) { node(id: $id) { ... on CertificationRun { ${RUN_FIELDS} } } }`
  let reportedCount = 0
  let isLinkShown = false
  while (Date.now() < deadlineMs) {
    const run = (await queryField(context, token, query, 'node', { id })) as CertificationRun
    const ended = run.checks.slice(reportedCount)
    for (const check of ended.filter(isOfLevel)) context.progress(describeCheck(check))
    reportedCount = run.checks.length
    if (run.signInUrl && !isLinkShown)
      context.progress(`Sign in as a test customer within 30 minutes: ${run.signInUrl}`)
    isLinkShown ||= Boolean(run.signInUrl)
    if (run.status !== 'RUNNING') {
      const others = run.checks.filter((check) => !isOfLevel(check))
      if (others.length > 0) context.progress(`Not at this level: ${others.map(({ name }) => name).join(', ')}`)
      return run
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS))
  }
  throw new CommandError('the run has not finished in time: see guichet connectors show')
}

const isOfLevel = ({ code }: Check): boolean => code !== 'NOT_AT_THIS_LEVEL'

const MARKS = { PASSED: '✓', FAILED: '✗', SKIPPED: '-' } as const
const CHECK_NAME_WIDTH = 20

const describeCheck = ({ name, status, code, failureCause, durationMs }: Check): string =>
  [
    `${MARKS[status]} ${name.padEnd(CHECK_NAME_WIDTH)} ${durationMs ?? 0} ms`,
    ...(code === null ? [] : [failureCause === null ? code : `${code}: ${failureCause}`]),
  ].join('  ')

function describeFailure({ checks, failureCode }: CertificationRun): string {
  if (failureCode !== null) return `the run could not be completed: ${failureCode}`
  const failed = checks.filter(
    ({ status, code }) => status === 'FAILED' || (status === 'SKIPPED' && code === 'PREREQUISITE_FAILED'),
  )
  return `the run failed: ${failed.map(({ name, code, failureCause }) => `${name} ${failureCause ?? code}`).join(', ')}`
}
