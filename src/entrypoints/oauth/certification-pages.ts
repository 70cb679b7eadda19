import { GatewayError } from '../../kernel/errors.ts'
import { html, renderPage } from '../../kernel/html.ts'
import type { HttpResponse } from '../../kernel/http.ts'
import type { SignInOutline } from '../../modules/banks/index.ts'
import { signInTexts } from './texts.ts'

/** The page of a link: for whom it is, and what follows. It calls the bank only when the person goes on. */
export function attendPage(bankName: string, signIn: SignInOutline, path: string): HttpResponse {
  const { explanation, action } = signInTexts(signIn, bankName)
  return renderPage(
    `Test of ${bankName}`,
    html`<h1>Sign in to test the interface of ${bankName}</h1>
      <p>
        This link is for the people who test the connection between Guichet and ${bankName}. Sign in as a test customer, or with
        an account that you are allowed to test with, and share all accounts.
      </p>
      <p>${explanation}</p>
      <p>
        Guichet then reads the accounts and their balances, and ends its access within a minute. Only the results of the checks
        are stored. No app gets access.
      </p>
      <p class="never">Did somebody send you this link to connect your bank with an app? Then close this page.</p>
      <div class="actions"><a class="button" href="${path}" rel="noreferrer">${action}</a></div>`,
  )
}

/** The page after the return from the bank. */
export const attendedPage = (): HttpResponse =>
  renderPage(
    'Thank you',
    html`<h1>Thank you</h1>
      <p>The checks now continue by themselves. You can close this page.</p>`,
  )

/** The page of a link, or of a return from the bank, that is not valid any more. */
export const linkOverPage = (): HttpResponse => ({
  ...renderPage(
    'This link is no longer valid',
    html`<h1>This link is no longer valid</h1>
      <p>Somebody has signed in with it, or it has expired. To test again, start another certification run.</p>`,
    { status: 410 },
  ),
  error: new GatewayError('INTERACTION_EXPIRED'),
})

/** The page if the sign-in at the bank could not be started. */
export const attendProblemPage = (error: GatewayError): HttpResponse => ({
  ...renderPage(
    'This did not work',
    html`<h1>This did not work</h1>
      <p>${error.message}</p>
      <p>You can go back and try again.</p>`,
    { status: error.definition.httpStatus },
  ),
  error,
})
