// The sign-in pages of a sandbox bank: HTML forms without scripts.

const escape = (text: string): string => text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`)

function page(bank: string, title: string, body: string): string {
  return `<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escape(title)} · ${escape(bank)}</title><style>
body{font:17px/1.5 system-ui,sans-serif;margin:0;background:#eef1f4;color:#16202a}main{max-width:26rem;margin:3rem auto;background:#fff;padding:1.5rem 2rem;border-radius:.5rem}
label{display:block;margin:.75rem 0}input[type=text],input[type=password]{width:100%;box-sizing:border-box;font:inherit;padding:.5rem}
button{font:inherit;padding:.6rem 1rem;margin:.75rem .5rem 0 0}.bank{font-weight:700;color:#0b4f6c}.error{color:#a30000}</style></head>
<body><main><p class="bank">${escape(bank)}</p><h1>${escape(title)}</h1>${body}</main></body></html>`
}

/** The page on which the customer signs in. `hasFailed` shows that the last attempt failed. */
export const signInPage = (bank: string, session: string, hasFailed: boolean): string =>
  page(
    bank,
    'Sign in',
    `${hasFailed ? '<p class="error" role="alert">The name or password is incorrect.</p>' : ''}
<p>This is a sandbox bank. The password of every customer is <code>sandbox</code>.</p>
<form method="post" action="/sign-in"><input type="hidden" name="session" value="${escape(session)}">
<label>Name <input type="text" name="customer" autocomplete="username" required></label>
<label>Password <input type="password" name="password" autocomplete="current-password" required></label>
<button name="decision" value="sign-in">Sign in</button> <button name="decision" value="cancel" formnovalidate>Cancel</button></form>`,
  )

/** An account that the customer can choose. */
export interface AccountOption {
  readonly id: string
  readonly label: string
}

/** The page on which the customer chooses the accounts to share. */
export const accountsPage = (
  bank: string,
  session: string,
  recipient: string,
  accounts: readonly AccountOption[],
): string =>
  page(
    bank,
    'Choose accounts',
    `<p><strong>${escape(recipient)}</strong> requests access to the names and balances of your accounts. It does not request access to payments.</p>
<form method="post" action="/choose"><input type="hidden" name="session" value="${escape(session)}">
${accounts.map(({ id, label }) => `<label><input type="checkbox" name="account" value="${escape(id)}" checked> ${escape(label)}</label>`).join('\n')}
<button name="decision" value="allow">Share these accounts</button> <button name="decision" value="refuse">Refuse</button></form>`,
  )

/** The page that reports an error. */
export const problemPage = (bank: string, reason: string): string =>
  page(bank, 'Something went wrong', `<p>${escape(reason)}</p>`)

/** The start page of the bank's app, on which the sandbox lets anybody be any customer. */
export const customersPage = (bank: string, customers: readonly string[]): string =>
  page(
    bank,
    'Your bank',
    `<p>This is a sandbox bank: choose who you are.</p>
<ul>${customers.map((customer) => `<li><a href="/app/${encodeURIComponent(customer)}">${escape(customer)}</a></li>`).join('')}</ul>`,
  )

/** An account in the bank's app. */
export interface AppAccount {
  readonly label: string
  readonly isFrozen: boolean
  /** What the newest alert is about. Undefined if there is none. */
  readonly details: string | undefined
}

/** The accounts of a customer in the bank's app. */
export const appPage = (bank: string, customer: string, accounts: readonly AppAccount[]): string =>
  page(
    bank,
    `Accounts of ${customer}`,
    accounts
      .map(
        ({ label, isFrozen, details }) =>
          `<p><strong>${escape(label)}</strong>${isFrozen ? ' <span class="error">frozen</span>' : ''}${
            details === undefined ? '' : `<br>Security alert about: ${escape(details)}`
          }</p>`,
      )
      .join('\n'),
  )
