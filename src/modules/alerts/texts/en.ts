import type { AlertCatalogue } from './model.ts'

/** English. */
export const EN: AlertCatalogue = {
  preview: 'Security message from {bank}',
  types: {
    ACCOUNT_TAKEOVER_SUSPECTED: '{bank} suspects that somebody else is using your account.',
    UNUSUAL_ACTIVITY_REVIEW: '{bank} has noticed unusual activity on your account.',
    POSSIBLE_SCAM_PRESSURE:
      '{bank} suspects that somebody is pressing you to pay. Take your time: your bank never hurries you.',
    CARD_SECURITY: 'There is a message from {bank} about the security of your card.',
    ACCOUNT_RESTRICTED: '{bank} has blocked some or all uses of your account.',
    ACCOUNT_UNRESTRICTED: '{bank} has lifted the block of your account.',
    CONTACT_DETAILS_CHANGED: 'Your contact details at {bank} were changed.',
    AUTHENTICATION_CHANGED: 'The way in which you sign in at {bank} was changed.',
    NEW_SIGN_IN: 'There was a new sign-in to your account at {bank}.',
    CREDENTIAL_RESET_REQUIRED: '{bank} needs you to renew how you sign in.',
    ACCESS_TOKEN_REVOKED: '{bank} has ended a session or an access to your account.',
    BALANCE_LINE_CROSSED: 'The balance of one of your accounts at {bank} has crossed a line that you set.',
  },
  actions: {
    NONE: '',
    REVIEW_WITH_BANK: 'Please check it with your bank.',
    CALL_BANK: 'Please call your bank now, at the number on your card.',
    CONFIRM_ACTIVITY: 'Please say whether it was you.',
  },
  handOff: 'You can also open the app of your bank yourself.',
  notice: 'Your bank never asks for a code or a password here. A response does not change your rights.',
  labels: {
    IT_WAS_ME: 'It was me',
    CALL_ME: 'Please call me',
    IT_WAS_NOT_ME: 'It was not me',
    FREEZE_REQUESTED: 'Freeze it now',
  },
}
