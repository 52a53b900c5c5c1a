// Adds up the result files of a test run and prints one line: "N passed, N failed".
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

const [dir] = process.argv.slice(2)
let passed = 0
let failed = 0
for (const file of readdirSync(dir).filter((name) => name.endsWith('.json'))) {
  const text = readFileSync(join(dir, file), 'utf8')
  if (file.startsWith('go')) {
    // `go test -json`: one event a line; those without a test name are about a package.
    for (const line of text.split('\n').filter((one) => one.startsWith('{'))) {
      const { Action, Test } = JSON.parse(line)
      if (Test && Action === 'pass') passed += 1
      if (Action === 'fail') failed += 1
    }
  } else {
    const results = JSON.parse(text)
    passed += results.numPassedTests
    // A file that could not even be loaded has no tests that failed.
    failed += Math.max(results.numFailedTests, results.success ? 0 : 1)
  }
}
console.log(`${passed} passed, ${failed} failed`)
process.exit(failed > 0 || passed === 0 ? 1 : 0)
