import { html, renderPage } from '../../kernel/html.ts'
import type { HttpResponse } from '../../kernel/http.ts'
import { BANK_CALLBACK_PATH } from '../../modules/banks/index.ts'

/** Moves the parameters of the fragment into the form, removes them from the address, and sends the form. */
const SCRIPT = `
document.getElementById('without-script').hidden = true
const parameters = new URLSearchParams(location.hash.slice(1))
history.replaceState(null, '', location.pathname)
const form = document.forms[0]
for (const [name, value] of parameters) {
  const input = document.createElement('input')
  input.type = 'hidden'
  input.name = name
  input.value = value
  form.append(input)
}
if (parameters.has('state')) form.submit()
else document.getElementById('failure').hidden = false
`

/**
 * The page for a bank that returns its parameters in the fragment (OAuth 2.0 Multiple Response Types 1.0, 5), which browsers do
 * not send. Its script posts them, so that they are in no address, history or log of a server.
 */
export const fragmentPage = (): HttpResponse =>
  renderPage(
    'Returning from your bank',
    html`<h1>Returning from your bank</h1>
      <p id="failure" hidden>Your bank returned no answer. Please go back to the chat and start again.</p>
      <p id="without-script">Your bank needs scripts for this step. Allow scripts for this page and reload it.</p>
      <form method="post" action="${BANK_CALLBACK_PATH}"></form>`,
    { script: SCRIPT },
  )
