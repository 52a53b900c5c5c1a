package restful

import (
	"reflect"
	"regexp"
	"testing"
)

func TestLateExpressionsMatchAsOthersDo(t *testing.T) {
	for path, text := range map[string]string{
		"/apis/apps/v1/namespaces/{namespace}/deployments/{name}/status": "/apis/apps/v1/namespaces/a.b/deployments/c/status",
		"/apis/a+b/v1":      "/apis/a+b/v1/",
		"/logs/{logpath:*}": "/logs/a/b",
		"/{n:[0-9]+}":       "/12",
		"/":                 "/other",
	} {
		late, err := newPathExpression(path)
		if err != nil {
			t.Fatal(err)
		}
		plain := regexp.MustCompile(late.Source)
		for _, text := range []string{text, "/apis/aab/v1", ""} {
			if got, want := late.Matcher.FindStringSubmatch(text), plain.FindStringSubmatch(text); !reflect.DeepEqual(got, want) {
				t.Errorf("%s on %q: got %q, want %q", path, text, got, want)
			}
			if got, want := late.Matcher.MatchString(text), plain.MatchString(text); got != want {
				t.Errorf("%s matches %q: %v", path, text, got)
			}
		}
	}
}

func TestAWrongExpressionIsRefusedAtOnce(t *testing.T) {
	if _, err := newPathExpression("/{n:[}"); err == nil {
		t.Error("nobody minds")
	}
}
