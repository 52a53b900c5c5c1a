// Package restful is a part of go-restful's package of that name: the build of the
// node image puts this file beside path_expression.go, which is made to use it
// (src/node-image/kubernetes-changes.ts).
//
// For each of its routes, a thousand and more, an API server compiles a regular
// expression before it serves, and keeps it. Its router compares parts of paths and
// asks for none of them. Here they are compiled for the first who asks.
package restful

import (
	"regexp"
	"strings"
	"sync"
)

// lateExpression is a regular expression that is compiled when it is first asked.
type lateExpression struct {
	source   string
	once     sync.Once
	compiled *regexp.Regexp
}

// compileLate compiles at once only what can be wrong: the expression of a path that brings
// expressions of its own.
func compileLate(path, expression string) (*lateExpression, error) {
	late := &lateExpression{source: expression}
	if !strings.Contains(path, ":") {
		return late, nil
	}
	compiled, err := regexp.Compile(expression)
	late.once.Do(func() { late.compiled = compiled })
	return late, err
}

func (e *lateExpression) expression() *regexp.Regexp {
	e.once.Do(func() { e.compiled = regexp.MustCompile(e.source) })
	return e.compiled
}

func (e *lateExpression) FindStringSubmatch(text string) []string {
	return e.expression().FindStringSubmatch(text)
}

func (e *lateExpression) MatchString(text string) bool {
	return e.expression().MatchString(text)
}
