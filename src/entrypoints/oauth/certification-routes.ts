import { toGatewayError } from '../../kernel/errors.ts'
import { route, seeOther, type HttpRequest, type HttpResponse, type Route } from '../../kernel/http.ts'
import { BANK_CALLBACK_PATH, CERTIFICATION_LINK_PATH, type Banks } from '../../modules/banks/index.ts'
import { attendedPage, attendPage, attendProblemPage, linkOverPage } from './certification-pages.ts'
import { redirectPage } from './interaction-pages.ts'
import { assertSameOrigin } from './page-handlers.ts'
import { isPrefetch, rejectPrefetch } from './prefetch.ts'
import { presentCustomerOf } from './present-customer.ts'
import { MAX_FORM_BYTES, parseValues, signInStepPage } from './sign-in-pages.ts'

/** Dependencies of the pages for people who attend certification runs. */
export interface CertificationRoutesDependencies {
  readonly banks: Pick<Banks, 'attendedSignIns'>
  readonly issuer: string
}

const RETURNED_PATH = '/certification-returned'
const stepPath = (link: string): string => `${CERTIFICATION_LINK_PATH}/${link}/sign-in`

/**
 * The pages of a certification run that a person attends. A link shows a page first, so that software that only looks at links
 * calls no bank. The steps of the sign-in have the pages of customers.
 */
export function certificationRoutes({ banks: { attendedSignIns }, issuer }: CertificationRoutesDependencies): Route[] {
  return [
    route(
      'GET',
      `${CERTIFICATION_LINK_PATH}/{link}`,
      withLinkPages(async (_request, link) => {
        const { name, signIn } = await attendedSignIns.bankOfLink(link)
        return attendPage(name, signIn, `${CERTIFICATION_LINK_PATH}/${link}/bank`)
      }),
    ),
    route('GET', `${CERTIFICATION_LINK_PATH}/{link}/bank`, withLinkPages(exceptPrefetch(startSignIn))),
    route('GET', `${CERTIFICATION_LINK_PATH}/{link}/sign-in`, withLinkPages(exceptPrefetch(showStep))),
    route('POST', `${CERTIFICATION_LINK_PATH}/{link}/sign-in`, withLinkPages(submitStep)),
    route('GET', RETURNED_PATH, () => Promise.resolve(attendedPage())),
  ]

  async function startSignIn(request: HttpRequest, link: string): Promise<HttpResponse> {
    const step = await attendedSignIns.start(link, presentCustomerOf(request))
    return seeOther(step.kind === 'REDIRECT' ? step.url : stepPath(link))
  }

  /** The page of the present step. While the person waits, asks the bank whether it has got on. */
  async function showStep(request: HttpRequest, link: string): Promise<HttpResponse> {
    const { name } = await attendedSignIns.bankOfLink(link)
    const step = await attendedSignIns.continue(link, { kind: 'POLL' }, presentCustomerOf(request))
    if (step === 'RETURNED') return seeOther(RETURNED_PATH)
    if (step === 'NOT_STARTED') return seeOther(`${CERTIFICATION_LINK_PATH}/${link}`)
    // A form may have led here: browsers apply `form-action` to every redirect that follows it.
    return step.kind === 'REDIRECT'
      ? redirectPage({ name, host: URL.parse(step.url)?.host ?? '', url: step.url }, true)
      : signInStepPage({ bankName: name, path: stepPath(link) }, step)
  }

  async function submitStep(request: HttpRequest, link: string): Promise<HttpResponse> {
    assertSameOrigin(request, issuer)
    const form = new URLSearchParams(await request.body(MAX_FORM_BYTES))
    if (form.get('decision') !== 'go') {
      await attendedSignIns.abandon(link)
      return seeOther(`${CERTIFICATION_LINK_PATH}/${link}`)
    }
    await attendedSignIns.continue(link, { kind: 'FORM', ...parseValues(form) }, presentCustomerOf(request))
    return seeOther(stepPath(link))
  }
}

/** The response to a bank's callback for a certification run; undefined if its `state` belongs to none. */
export async function receiveForCertification(
  { banks: { attendedSignIns }, issuer }: CertificationRoutesDependencies,
  request: HttpRequest,
  state: string,
  parameters: URLSearchParams,
): Promise<HttpResponse | undefined> {
  const url = new URL(`${issuer}${BANK_CALLBACK_PATH}?${parameters.toString()}`)
  try {
    const received = await attendedSignIns.receive(state, url, presentCustomerOf(request))
    return received && seeOther(received.step === 'RETURNED' ? RETURNED_PATH : stepPath(received.link))
  } catch (thrown) {
    if (toGatewayError(thrown).code === 'INTERACTION_EXPIRED') return linkOverPage()
    throw thrown
  }
}

type LinkHandler = (request: HttpRequest, link: string) => Promise<HttpResponse>

/** Rejects prefetches of a step that can be taken only once. */
const exceptPrefetch =
  (handle: LinkHandler): LinkHandler =>
  (request, link) =>
    isPrefetch(request) ? Promise.resolve(rejectPrefetch()) : handle(request, link)

function withLinkPages(handle: LinkHandler): Route['handle'] {
  return async (request) => {
    try {
      return await handle(request, request.params['link']!)
    } catch (thrown) {
      const error = toGatewayError(thrown)
      return error.code === 'INTERACTION_EXPIRED' ? linkOverPage() : attendProblemPage(error)
    }
  }
}
