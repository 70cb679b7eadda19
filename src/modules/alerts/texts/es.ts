import type { AlertCatalogue } from './model.ts'

/** Spanish. */
export const ES: AlertCatalogue = {
  preview: 'Mensaje de seguridad de {bank}',
  types: {
    ACCOUNT_TAKEOVER_SUSPECTED: '{bank} sospecha que otra persona está usando su cuenta.',
    UNUSUAL_ACTIVITY_REVIEW: '{bank} ha detectado una actividad inusual en su cuenta.',
    POSSIBLE_SCAM_PRESSURE:
      '{bank} sospecha que alguien le presiona para que pague. Tómese su tiempo: su banco nunca le mete prisa.',
    CARD_SECURITY: 'Hay un mensaje de {bank} sobre la seguridad de su tarjeta.',
    ACCOUNT_RESTRICTED: '{bank} ha bloqueado total o parcialmente su cuenta.',
    ACCOUNT_UNRESTRICTED: '{bank} ha levantado el bloqueo de su cuenta.',
    CONTACT_DETAILS_CHANGED: 'Sus datos de contacto en {bank} han cambiado.',
    AUTHENTICATION_CHANGED: 'Su forma de acceso en {bank} ha cambiado.',
    NEW_SIGN_IN: 'Ha habido un nuevo acceso a su cuenta en {bank}.',
    CREDENTIAL_RESET_REQUIRED: 'Debe renovar su forma de acceso en {bank}.',
    ACCESS_TOKEN_REVOKED: '{bank} ha terminado una sesión o un acceso a su cuenta.',
    BALANCE_LINE_CROSSED: 'El saldo de una de sus cuentas en {bank} ha cruzado un límite que usted fijó.',
  },
  actions: {
    NONE: '',
    REVIEW_WITH_BANK: 'Compruébelo con su banco.',
    CALL_BANK: 'Llame ahora a su banco, al número que figura en su tarjeta.',
    CONFIRM_ACTIVITY: 'Diga si fue usted.',
  },
  handOff: 'También puede abrir usted mismo la aplicación de su banco.',
  notice: 'Su banco nunca pide aquí un código ni una contraseña. Una respuesta no cambia sus derechos.',
  labels: {
    IT_WAS_ME: 'Fui yo',
    CALL_ME: 'Llámenme',
    IT_WAS_NOT_ME: 'No fui yo',
    FREEZE_REQUESTED: 'Bloquear ahora',
  },
}
