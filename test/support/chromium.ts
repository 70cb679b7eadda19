import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { chromium, type BrowserContext } from 'playwright-core'

const PLACES = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome']
const executablePath = process.env['CHROMIUM'] ?? PLACES.find((place) => existsSync(place))
const isCi = (process.env['CI'] ?? '') !== '' && process.env['CI'] !== 'false'

/**
 * Why tests in a browser cannot run on this machine; undefined where they can. In CI it is always undefined: a browser
 * that is missing there is a failure and not a reason to skip.
 */
export const noChromium: string | undefined =
  executablePath === undefined && !isCi
    ? `skipped: Chromium is not installed (apt-get install chromium, or name another one in CHROMIUM)`
    : undefined

/** A new person's browser, without scripts unless they are asked for, and its end. Throws where Chromium is not installed. */
export async function openChromium(
  javaScriptEnabled = false,
): Promise<{ context: BrowserContext; close: () => Promise<void> }> {
  if (executablePath === undefined)
    throw new Error(`Chromium is not installed: none of ${PLACES.join(', ')} exists, and CHROMIUM is not set`)
  const profile = mkdtempSync(join(tmpdir(), 'guichet-chromium-'))
  const context = await chromium.launchPersistentContext(profile, {
    executablePath,
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
    javaScriptEnabled,
  })
  context.setDefaultTimeout(90_000)
  return {
    context,
    async close() {
      await context.close()
      rmSync(profile, { recursive: true, force: true })
    },
  }
}
