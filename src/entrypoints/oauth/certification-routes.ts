import { toGatewayError } from '../../kernel/errors.ts'
import { route, seeOther, type HttpRequest, type HttpResponse, type Route } from '../../kernel/http.ts'
import { BANK_CALLBACK_PATH, CERTIFICATION_LINK_PATH, type Banks } from '../../modules/banks/index.ts'
import { attendedPage, attendPage, attendProblemPage, linkOverPage } from './certification-pages.ts'
import { isPrefetch, rejectPrefetch } from './prefetch.ts'
import { presentCustomerOf } from './present-customer.ts'

/** Dependencies of the pages for people who attend certification runs. */
export interface CertificationRoutesDependencies {
  readonly banks: Pick<Banks, 'attendedSignIns'>
  readonly issuer: string
}

const RETURNED_PATH = '/certification-returned'

/**
 * The pages of a certification run that a person attends. A link shows a page first, so that software that only looks at links
 * calls no bank.
 */
export const certificationRoutes = ({ banks: { attendedSignIns } }: CertificationRoutesDependencies): Route[] => [
  route(
    'GET',
    `${CERTIFICATION_LINK_PATH}/{link}`,
    withLinkPages(async ({ params }) => {
      const link = params['link']!
      const { name } = await attendedSignIns.bankOfLink(link)
      return attendPage(name, `${CERTIFICATION_LINK_PATH}/${link}/bank`)
    }),
  ),
  route(
    'GET',
    `${CERTIFICATION_LINK_PATH}/{link}/bank`,
    withLinkPages(async (request) =>
      isPrefetch(request)
        ? rejectPrefetch()
        : seeOther(await attendedSignIns.start(request.params['link']!, presentCustomerOf(request))),
    ),
  ),
  route('GET', RETURNED_PATH, () => Promise.resolve(attendedPage())),
]

/** The response to a bank's callback for a certification run; undefined if its `state` belongs to none. */
export async function receiveForCertification(
  { banks: { attendedSignIns }, issuer }: CertificationRoutesDependencies,
  request: HttpRequest,
  state: string,
  parameters: URLSearchParams,
): Promise<HttpResponse | undefined> {
  const url = new URL(`${issuer}${BANK_CALLBACK_PATH}?${parameters.toString()}`)
  try {
    return (await attendedSignIns.receive(state, url, presentCustomerOf(request))) ? seeOther(RETURNED_PATH) : undefined
  } catch (thrown) {
    if (toGatewayError(thrown).code === 'INTERACTION_EXPIRED') return linkOverPage()
    throw thrown
  }
}

function withLinkPages(handle: (request: HttpRequest) => Promise<HttpResponse>): Route['handle'] {
  return async (request) => {
    try {
      return await handle(request)
    } catch (thrown) {
      const error = toGatewayError(thrown)
      return error.code === 'INTERACTION_EXPIRED' ? linkOverPage() : attendProblemPage(error)
    }
  }
}
