import type { AlertCatalogue } from './model.ts'

/** French. */
export const FR: AlertCatalogue = {
  preview: 'Message de sécurité de {bank}',
  types: {
    ACCOUNT_TAKEOVER_SUSPECTED: '{bank} pense qu’une autre personne utilise votre compte.',
    UNUSUAL_ACTIVITY_REVIEW: '{bank} a remarqué une activité inhabituelle sur votre compte.',
    POSSIBLE_SCAM_PRESSURE:
      '{bank} pense que quelqu’un vous pousse à payer. Prenez votre temps : votre banque ne vous presse jamais.',
    CARD_SECURITY: 'Il y a un message de {bank} sur la sécurité de votre carte.',
    ACCOUNT_RESTRICTED: '{bank} a bloqué tout ou partie de l’usage de votre compte.',
    ACCOUNT_UNRESTRICTED: '{bank} a levé le blocage de votre compte.',
    CONTACT_DETAILS_CHANGED: 'Vos coordonnées chez {bank} ont été modifiées.',
    AUTHENTICATION_CHANGED: 'Votre moyen de connexion chez {bank} a été modifié.',
    NEW_SIGN_IN: 'Il y a eu une nouvelle connexion à votre compte chez {bank}.',
    CREDENTIAL_RESET_REQUIRED: 'Vous devez renouveler votre moyen de connexion chez {bank}.',
    ACCESS_TOKEN_REVOKED: '{bank} a mis fin à une session ou à un accès à votre compte.',
    BALANCE_LINE_CROSSED: 'Le solde d’un de vos comptes chez {bank} a franchi une limite que vous avez fixée.',
  },
  actions: {
    NONE: '',
    REVIEW_WITH_BANK: 'Veuillez vérifier avec votre banque.',
    CALL_BANK: 'Veuillez appeler votre banque maintenant, au numéro indiqué sur votre carte.',
    CONFIRM_ACTIVITY: 'Veuillez dire si c’était vous.',
  },
  handOff: 'Vous pouvez aussi ouvrir vous-même l’application de votre banque.',
  notice: 'Votre banque ne demande jamais ici un code ou un mot de passe. Une réponse ne change rien à vos droits.',
  labels: {
    IT_WAS_ME: 'C’était moi',
    CALL_ME: 'Appelez-moi',
    IT_WAS_NOT_ME: 'Ce n’était pas moi',
    FREEZE_REQUESTED: 'Bloquer maintenant',
  },
}
