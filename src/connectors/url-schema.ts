import { z } from 'zod'

/** The schema of a registered URL, with the outbound address rules. Every URL of a registration uses it. */
export type UrlSchema = z.ZodType<string>

/** Creates the URL schema. `findUrlFault` returns the violated rule, which continues the field's name, or undefined. */
export const createUrlSchema = (findUrlFault: (url: string) => string | undefined): UrlSchema =>
  z.string().superRefine((url, ctx) => {
    const fault = findUrlFault(url)
    const params = URL.parse(url) === null ? {} : { code: 'ADDRESS_NOT_ALLOWED' }
    if (fault !== undefined) ctx.addIssue({ code: 'custom', message: fault, params })
  })
