import type { AlertCatalogue } from './model.ts'

/** German. */
export const DE: AlertCatalogue = {
  preview: 'Sicherheitsnachricht von {bank}',
  types: {
    ACCOUNT_TAKEOVER_SUSPECTED: '{bank} vermutet, dass jemand anderes Ihr Konto benutzt.',
    UNUSUAL_ACTIVITY_REVIEW: '{bank} hat ungewöhnliche Vorgänge auf Ihrem Konto bemerkt.',
    POSSIBLE_SCAM_PRESSURE:
      '{bank} vermutet, dass jemand Sie zu einer Zahlung drängt. Nehmen Sie sich Zeit: Ihre Bank drängt Sie nie.',
    CARD_SECURITY: 'Es gibt eine Nachricht von {bank} zur Sicherheit Ihrer Karte.',
    ACCOUNT_RESTRICTED: '{bank} hat Ihr Konto ganz oder teilweise gesperrt.',
    ACCOUNT_UNRESTRICTED: '{bank} hat die Sperre Ihres Kontos aufgehoben.',
    CONTACT_DETAILS_CHANGED: 'Ihre Kontaktdaten bei {bank} wurden geändert.',
    AUTHENTICATION_CHANGED: 'Ihre Anmeldung bei {bank} wurde geändert.',
    NEW_SIGN_IN: 'Es gab eine neue Anmeldung zu Ihrem Konto bei {bank}.',
    CREDENTIAL_RESET_REQUIRED: 'Sie müssen Ihre Anmeldung bei {bank} erneuern.',
    ACCESS_TOKEN_REVOKED: '{bank} hat eine Sitzung oder einen Zugriff auf Ihr Konto beendet.',
    BALANCE_LINE_CROSSED:
      'Der Saldo eines Ihrer Konten bei {bank} hat eine Grenze überschritten, die Sie gesetzt haben.',
  },
  actions: {
    NONE: '',
    REVIEW_WITH_BANK: 'Bitte klären Sie das mit Ihrer Bank.',
    CALL_BANK: 'Bitte rufen Sie jetzt Ihre Bank an, unter der Nummer auf Ihrer Karte.',
    CONFIRM_ACTIVITY: 'Bitte sagen Sie, ob Sie es waren.',
  },
  handOff: 'Sie können auch selbst die App Ihrer Bank öffnen.',
  notice: 'Ihre Bank fragt hier nie nach einem Code oder Passwort. Eine Antwort ändert nichts an Ihren Rechten.',
  labels: {
    IT_WAS_ME: 'Das war ich',
    CALL_ME: 'Bitte rufen Sie mich an',
    IT_WAS_NOT_ME: 'Das war ich nicht',
    FREEZE_REQUESTED: 'Jetzt sperren',
  },
}
