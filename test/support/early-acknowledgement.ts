// Loaded with `--import` before `src/main.ts`, makes a gateway that must fail: it acknowledges each event of a bank before the
// event is stored. A test that loses nothing on a killed gateway proves something only if it finds the losses of this one.
import { registerHooks } from 'node:module'

const ALERTS = '/src/modules/alerts/index.ts'
/** How long an acknowledged event is only in memory. */
const DELAY_MS = 300

/** Takes the place of the module: the same exports, but `receive` resolves at once. */
const source = (url: string): string => `
  import { createAlerts as create } from '${url}?original'
  export * from '${url}?original'
  export const createAlerts = (...dependencies) => {
    const alerts = create(...dependencies)
    const receive = (...event) => {
      setTimeout(() => void alerts.receive(...event).catch(() => undefined), ${DELAY_MS})
      return Promise.resolve()
    }
    return { ...alerts, receive }
  }`

registerHooks({
  load: (url, context, nextLoad) =>
    url.endsWith(ALERTS) ? { format: 'module', source: source(url), shortCircuit: true } : nextLoad(url, context),
})
