import type { MayflyFixtures, MayflyTest } from './helpers.ts'

/** What a test does with its fixtures. */
export type TestBody = (fixtures: MayflyFixtures) => unknown

/** The forms of a Jest test that have others in turn, such as `test.concurrent.only`. */
const forms = ['only', 'skip', 'failing', 'concurrent'] as const

/** What all forms of a Jest test have in common. */
interface JestTest extends Partial<Record<(typeof forms)[number], JestTest>> {
  (name: unknown, body: unknown, timeoutMs?: number): unknown
  each?: (...table: unknown[]) => JestTest
}

/**
 * Jest's `test` in all its forms, whose bodies are run by `run`, which gives them their fixtures. With `each` these come
 * after the values of the row.
 */
export function testWithFixtures(test: unknown, run: (body: TestBody) => unknown): MayflyTest {
  return Object.assign(wrapped(test as JestTest, run), {
    todo: (test as { todo: MayflyTest['todo'] }).todo,
  }) as unknown as MayflyTest
}

function wrapped(test: JestTest, run: (body: TestBody) => unknown): JestTest {
  // Jest looks at the number of parameters to tell tests with a callback, so the function that it gets has none.
  const call = (name: unknown, body: unknown, timeoutMs?: number) =>
    test(name, typeof body === 'function' ? () => run(body as TestBody) : body, timeoutMs)
  const { each } = test
  const eachRow =
    each &&
    ((...table: unknown[]) =>
      (name: unknown, body: (...values: unknown[]) => unknown, timeoutMs?: number) =>
        each(...table)(name, (...row: unknown[]) => run((fixtures) => body(...row, fixtures)), timeoutMs))
  const more = forms.flatMap((form) => {
    const other = test[form]
    return other ? [[form, wrapped(other, run)] as const] : []
  })
  return Object.assign(call, Object.fromEntries(more), eachRow && { each: eachRow }) as JestTest
}
